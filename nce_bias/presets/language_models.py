"""Language models, extreme classification and estimates of the partition function."""

from functools import partial

from nce_bias.losses import (
    Loss,
    binary_nce,
    blackout,
    hinge,
    infonce,
    jackknifed_softmax,
    negative_sampling,
    one_vs_each,
    ranking_nce,
    sampled_softmax,
    sampled_softmax_both,
    self_normalized,
    with_inclusion,
)
from nce_bias.presets._convention import READ, Convention, halves
from nce_bias.presets._losses import log_bound, u_max
from nce_bias.presets._score_proposals import beyond_best, kernel
from nce_bias.presets._side_proposals import (
    among,
    outside,
    popular_softmax_of,
    proportional_to,
    sides,
    softmax_of,
)
from nce_bias.proposals import log_uniform, model, popularity, uniform
from nce_bias.samplers import Sampler, best_of, iid, top, until_distinct, without_replacement

row = partial(Convention, family="language_models")
ROWS = [
    row(
        name="tf_sampled_softmax",
        year=2015,
        of=lambda m: (until_distinct(log_uniform("index"), m), sampled_softmax_both),
        words="draws by rank of the label's index until m differ, hits masked; log of 1 - (1 - "
        "q)^tries off gold and negatives",
        source="TensorFlow, tf.nn.sampled_softmax_loss with its default sampler (unique=True)",
        status=READ,
        differs="One set of negatives serves a whole batch: here every example has its own.",
    ),
    row(
        name="tf_sampled_softmax_repeats",
        year=2015,
        of=lambda m: (iid(log_uniform("index"), m, hits="mask_last"), sampled_softmax_both),
        words="m draws by rank of the label's index, repetitions allowed, the last copy of the "
        "gold masked and no other; log(m q) off gold and negatives",
        source="TensorFlow, tf.nn.sampled_softmax_loss with the log-uniform sampler and "
        "unique=False; Jean et al. (2015)",
        status=READ,
        differs="One set of negatives serves a whole batch: here every example has its own.",
    ),
    row(
        name="tf_nce",
        year=2015,
        of=lambda m: (until_distinct(log_uniform("index"), m, hits="keep"), binary_nce),
        words="draws by rank of the label's index until m differ, hits kept; logistic loss with "
        "log of 1 - (1 - q)^tries off all scores",
        source="TensorFlow, tf.nn.nce_loss with its default sampler",
        differs="One set of negatives serves a whole batch: here every example has its own.",
    ),
    row(
        name="tf_nce_repeats",
        year=2015,
        of=lambda m: (iid(log_uniform("index"), m, hits="mask_last"), binary_nce),
        words="m draws by rank of the label's index, repetitions allowed, the last copy of the "
        "gold masked and no other; logistic loss with log(m q) off all scores",
        source="TensorFlow, tf.nn.nce_loss with the log-uniform sampler, unique=False and "
        "remove_accidental_hits",
        status=READ,
        differs="One set of negatives serves a whole batch: here every example has its own.",
    ),
    row(
        name="log_uniform",
        year=2015,
        of=lambda m: (iid(log_uniform(), m), sampled_softmax),
        words="m wrong labels drawn by rank of popularity; log(m q) off the negatives",
        source="Jean et al. (2015) with a log-uniform candidate sampler",
        popular=True,
    ),
    row(
        name="bengio_senecal_2003",
        year=2003,
        of=lambda m: (iid(popularity(), m, hits="keep"), self_normalized),
        words="m draws from the popularity; importance weights over the negatives alone",
        source="Bengio & Senécal (2003), with a fixed number of draws",
        differs="Draws go on until the effective sample size is large enough: here m is fixed.",
        popular=True,
    ),
    row(
        name="bengio_senecal_2008",
        year=2008,
        of=lambda m: (iid(popularity(), m), sampled_softmax),
        words="m wrong labels drawn from the popularity; log(m q) off the negatives",
        source="Bengio & Senécal (2008), with a unigram proposal",
        differs="The proposal is an n-gram model that follows the network: here it is fixed.",
        popular=True,
    ),
    row(
        name="mnih_teh_2012",
        year=2012,
        of=lambda m: (iid(popularity(), m, hits="keep"), binary_nce),
        words="m draws from the unigram distribution, hits kept; logistic loss with log(m q) off "
        "all scores, the model taken as normalised",
        source="Mnih & Teh (2012)",
        differs="Public code shares the noise of a batch, and has a constant for log Z.",
        popular=True,
        same_as="binary_nce",
    ),
    row(
        name="shared_noise_nce",
        year=2016,
        of=lambda m: (iid(popularity(), m, hits="keep"), binary_nce),
        words="one set of m unigram draws for all rows of a batch, of which this is one row; "
        "logistic loss with log(m q) off all scores",
        source="Zoph et al. (2016)",
        differs="The gradients of a batch's rows depend on each other: of their sum this is the "
        "mean, not the variance.",
        popular=True,
        same_as="binary_nce",
    ),
    row(
        name="importance_sampling_2016",
        year=2016,
        of=lambda m: (iid(popularity(), m, hits="keep"), ranking_nce),
        words="m draws from the unigram distribution; softmax over gold and draws, log q off all "
        "of them: NCE with several classes",
        source="Józefowicz et al. (2016), the loss called IS",
        popular=True,
        same_as="ranking_nce",
    ),
    row(
        name="relative_weighting",
        year=2021,
        of=lambda m: (iid(popularity(), m, hits="keep"), ranking_nce),
        words="negatives weighted by q_gold / q_y in the softmax, which is log q off all scores",
        source="Rawat et al. (2021), relative weights with in-batch negatives",
        popular=True,
        same_as="ranking_nce",
    ),
    row(
        name="word2vec",
        year=2013,
        of=lambda m, power=0.75: (iid(popularity(power), m, hits="mask"), negative_sampling),
        words="m draws from popularity^0.75, those of the gold dropped; logistic loss, no "
        "correction",
        source="Mikolov et al. (2013), word2vec.c",
        status=READ,
        differs="q and the logistic function are read from tables of finite size; a draw of the "
        "first label is drawn again, uniformly.",
        popular=True,
    ),
    row(
        name="fasttext",
        year=2016,
        of=lambda m, power=0.5: (iid(popularity(power), m), negative_sampling),
        words="m draws from popularity^0.5, draws of the gold drawn again; logistic loss",
        source="fastText, NegativeSamplingLoss; Bojanowski et al. (2017)",
        status=READ,
        differs="The paper has the same power; the draws are read from a table of finite size.",
        popular=True,
    ),
    row(
        name="blackout",
        year=2016,
        of=lambda m, power=0.4: (iid(popularity(power), m, hits="mask"), blackout),
        words="m draws from popularity^0.4, those of the gold dropped; -log of the gold's share "
        "and of one minus each negative's, log q off all scores",
        source="Ji et al. (2016)",
        status=READ,
        differs="The authors' code draws <unk> first, whatever q, and shares the draws of a step.",
        popular=True,
    ),
    row(
        name="complementary_sum",
        year=2017,
        of=lambda m: (without_replacement(uniform(), m), sampled_softmax),
        words="the gold's weight, and (V - 1) / m times those of m distinct wrong labels, uniform",
        source="Botev et al. (2017), complementary sum sampling",
    ),
    row(
        name="head_and_tail",
        year=2015,
        of=lambda m: _head_and_tail(*halves(m)),
        words="the best half of the candidates for certain, the other half uniform among the rest "
        "and weighted by one over its chance",
        source="Rastogi & Van Durme (2015), MIMPS; Mussmann & Ermon (2016)",
        differs="The best come from an approximate index; how m is shared is the user's.",
    ),
    row(
        name="blanc_rendle",
        year=2018,
        of=lambda m, temperature=1.0: (iid(model(temperature), m), sampled_softmax),
        words="m wrong labels drawn from the model; log(m q) off the negatives: no bias at all",
        source="Blanc & Rendle (2018), where a kernel stands in for the model",
        status=READ,
        differs="The proposal is a kernel of the scores: here it is the model itself.",
    ),
    row(
        name="quadratic_kernel",
        year=2018,
        of=lambda m, alpha=100.0: (iid(kernel(alpha, 2), m), sampled_softmax),
        words="m wrong labels in proportion to 100 s^2 + 1; log(m q) off the negatives",
        source="Blanc & Rendle (2018), section 3",
        differs="A benchmark's code draws a pool for each user once an epoch, and uses it again.",
    ),
    row(
        name="quartic_kernel",
        year=2018,
        of=lambda m: (iid(kernel(1.0, 4), m), sampled_softmax),
        words="m wrong labels in proportion to s^4 + 1; log(m q) off the negatives",
        source="Blanc & Rendle (2018), the quartic kernel of the experiments",
    ),
    row(
        name="rf_softmax",
        year=2019,
        of=lambda m: (iid(proportional_to("kernel"), m), sampled_softmax),
        words="m wrong labels in proportion to the inner product of random Fourier features; log(m "
        "q) off the negatives",
        source="Rawat et al. (2019)",
        sides=sides("kernel"),
    ),
    row(
        name="midx",
        year=2022,
        of=lambda m: (iid(softmax_of("quantised"), m), sampled_softmax),
        words="a pair of codewords by the softmax of its score and size, then a wrong label of the "
        "cell, uniform; log(m q) off the negatives",
        source="Chen et al. (2022), MIDX, uniform inside a cell",
        status=READ,
        differs="RecStudio returns log q without its constant: right only if the gold is corrected "
        "too.",
        sides=sides("quantised"),
    ),
    row(
        name="midx_popularity",
        year=2022,
        of=lambda m: (iid(popular_softmax_of("quantised"), m), sampled_softmax),
        words="as midx, by popularity inside a cell",
        source="Chen et al. (2022), MIDX, popularity inside a cell",
        status=READ,
        popular=True,
        sides=sides("quantised"),
    ),
    row(
        name="adversarial_tree",
        year=2020,
        of=lambda m: (iid(softmax_of("tree"), m, hits="keep"), negative_sampling),
        words="m draws from a learned tree; logistic loss, no correction: log q is added at "
        "prediction",
        source="Bamler & Mandt (2020)",
        status=READ,
        sides=sides("tree"),
    ),
    row(
        name="one_vs_each",
        year=2016,
        of=lambda m: (without_replacement(uniform(), m), one_vs_each),
        words="(V - 1) / m times the sum of softplus(s_y - s_gold) over m distinct wrong labels, "
        "uniform: a bound on -log p",
        source="Titsias (2016), subsampled",
    ),
    row(
        name="log_bound",
        year=2013,
        of=lambda m, log_a=0.0: (iid(uniform(), m), log_bound(log_a)),
        words="the bound a Z - log a - 1 of log Z, Z from m uniform wrong labels; least at a = 1 "
        "/ Z",
        source="Gopal & Yang (2013), from Bouchard (2007); subsampled in Raman et al. (2019)",
        differs="a is learned, one for each example: here it is an option, one for all.",
    ),
    row(
        name="u_max",
        year=2018,
        of=lambda m, u=0.0: (iid(uniform(), m), u_max(u)),
        words="u + e^-u (1 + sum of e^(s_y - s_gold)), the sum from m uniform wrong labels; "
        "least at u = log Z - s_gold",
        source="Fagan & Iyengar (2018)",
        differs="u is kept for each example and moves with it: here it is an option, one for all.",
    ),
    row(
        name="jackknife",
        year=2018,
        of=lambda m: (iid(popularity(), m), jackknifed_softmax),
        words="sampled softmax with m wrong labels from the popularity, its bias of order 1/m "
        "taken off by the jackknife",
        source="Nowozin (2018), order 1",
        popular=True,
    ),
    row(
        name="shortlist",
        year=2019,
        of=lambda m: (without_replacement(among("shortlist"), m), negative_sampling),
        words="m distinct wrong labels of the input's shortlist; logistic loss",
        source="Jain et al. (2019), Slice; You et al. (2019), AttentionXML",
        differs="All of the shortlist is taken: that is m = its length without the gold.",
        sides=sides("shortlist"),
    ),
    row(
        name="stochastic_negative_mining",
        year=2019,
        of=lambda m, times=4, margin=1.0: (best_of(iid(uniform(), times * m), m), hinge(margin)),
        words="the m best by score of times m wrong labels, uniform; hinge of each",
        source="Reddi et al. (2019), with a pairwise loss; how many are drawn is the user's",
    ),
    row(
        name="dexml",
        year=2024,
        of=lambda m: (iid(outside("positives"), m), infonce),
        words="a softmax for each right label beside m draws, uniform over labels that are not "
        "right, the other right ones in no denominator",
        source="Gupta et al. (2024), DEXML, decoupled softmax",
        status=READ,
        differs="All labels that are not right are in it, where that can be afforded.",
        sides=sides("positives"),
    ),
]


def _head_and_tail(tail: int, head: int) -> tuple[Sampler, Loss]:
    return top(head) + iid(beyond_best(head), tail), with_inclusion(sampled_softmax)
