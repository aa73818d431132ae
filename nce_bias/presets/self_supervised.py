"""Self-supervised and multimodal learning, and estimates of mutual information.

An image's own other view is the gold, the others' views the negatives; here one view of each, drawn
independently, but in `simclr` and
`decoupled_views`, whose labels are views. Cosines are divided by their temperature
before they are scores.
"""

from functools import partial

from nce_bias._near_gold import semi_hard
from nce_bias.losses import (
    debiased,
    hard_reweighted,
    hinge,
    infonce,
    jsd,
    mil_nce,
    nwj,
    rince,
    siglip,
    smile,
    spectral,
)
from nce_bias.presets._convention import IN_BATCH, READ, Convention, batch_of
from nce_bias.presets._losses import (
    decoupled,
    donsker_varadhan,
    rpc,
    shifted_nce,
    spce,
    tuba,
)
from nce_bias.presets._score_proposals import rank_shares
from nce_bias.presets._side_proposals import popular_outside, sides
from nce_bias.proposals import popularity, uniform
from nce_bias.samplers import Sampler, best_of, iid, in_batch, listed


def _batch(m: int) -> Sampler:
    return iid(popularity(), m, hits="keep")


def _known(negatives: Sampler, positives: int) -> Sampler:
    """With the other positives of the input."""
    return listed("positives", positives) + negatives


#: Of rows in which the other positives are candidates too.
POSITIVES = "All known positives of the input are there: in a batch some are."


row = partial(Convention, family="self_supervised", popular=True)
ROWS = [
    row(
        name="clip_one_way",
        year=2021,
        of=lambda m: (_batch(m), infonce),
        words="the texts of a batch for one image: the rows of CLIP's matrix. Its columns are the "
        "same on the transposed problem, pop(x|y) with weights pop(y), and the loss their mean: "
        'preset("clip_one_way", m).both_directions(problem)',
        source="Radford et al. (2021), CLIP, one of two directions",
        status=READ,
        differs=IN_BATCH,
        same_as="in_batch_infonce",
    ),
    row(
        name="siglip",
        year=2023,
        of=lambda m, temperature=10.0, bias=-10.0: (_batch(m), siglip(temperature, bias)),
        words="logistic loss on all pairs of a batch, one row of it, at scores t s + b",
        source="Zhai et al. (2023); big_vision",
        status=READ,
        differs=f"t and b are learned, from the defaults on. {IN_BATCH}",
    ),
    row(
        name="simclr",
        year=2020,
        of=lambda m: (in_batch(batch_of(m, 2), views=2), infonce),
        words="both views of the m / 2 other images of a batch and the image's own other view in "
        "one softmax; labels are views, those of an image one after the other, inputs views too",
        source="Chen et al. (2020), NT-Xent; lightly NTXentLoss, optax.losses.ntxent, "
        "pytorch-metric-learning SelfSupervisedLoss",
        status=READ,
        differs="Images of an epoch do not repeat: nb.in_batch(size, views=2, counts=...) is that.",
    ),
    row(
        name="supcon",
        year=2020,
        of=lambda m, positives=8: (
            _known(iid(popular_outside("positives"), m), positives),
            infonce,
        ),
        words="the mean over an input's positives outside of the logarithm: each is the gold in "
        "its turn, the others are candidates beside m golds of other classes",
        source="Khosla et al. (2020), L_out; HobbitLong/SupContrast",
        status=READ,
        differs=f"The code multiplies by a ratio of temperatures. {POSITIVES}",
        sides=sides("positives"),
    ),
    row(
        name="supcon_in",
        year=2020,
        of=lambda m, positives=8: (
            _known(iid(popular_outside("positives"), m), positives),
            mil_nce,
        ),
        words="the mean over an input's positives inside of the logarithm, m golds of other "
        "classes beside them in the denominator",
        source="Khosla et al. (2020), L_in, but for the logarithm of how many positives there are",
        differs=POSITIVES,
        sides=sides("positives"),
    ),
    row(
        name="mil_nce",
        year=2020,
        of=lambda m, positives=8: (_known(_batch(m), positives), mil_nce),
        words="the sum of a bag of positives over the same sum with m golds of other clips",
        source="Miech et al. (2020), MIL-NCE, one of two directions",
        status=READ,
        differs="The code's denominator joins rows and columns, and has the positives twice.",
        sides=sides("positives"),
    ),
    row(
        name="vse_plus_plus",
        year=2018,
        of=lambda m, times=4, margin=0.2: (best_of(in_batch(times * m + 1), m), hinge(margin)),
        words="the m best of the golds of times m other pairs, m = 1 in the paper; hinge",
        source="Faghri et al. (2018), VSE++, one of two directions; the batch is the user's",
        differs=IN_BATCH,
    ),
    row(
        name="debiased_contrastive",
        year=2020,
        of=lambda m, tau=0.1, temperature=0.5: (_batch(m), debiased(tau, temperature)),
        words="the negatives' mean corrected for a share tau of positives among them, not below "
        "the least that cosines allow",
        source="Chuang et al. (2020), one positive",
        status=READ,
        differs="Negatives come in pairs of views; exact while the floor is idle.",
        on_example={"tau": 0.05},
    ),
    row(
        name="hard_contrastive",
        year=2021,
        of=lambda m, beta=1.0, tau=0.1, temperature=0.5: (
            _batch(m),
            hard_reweighted(beta, tau, temperature),
        ),
        words="as debiased_contrastive, negatives weighted by e^(beta s)",
        source="Robinson et al. (2021), one positive",
        status=READ,
        differs="Negatives come in pairs of views; exact while the floor is idle.",
        on_example={"tau": 0.05},
    ),
    row(
        name="cpc",
        year=2018,
        of=lambda m: (_batch(m), infonce),
        words="m draws from the marginal, the gold in the softmax, no correction",
        source="van den Oord et al. (2018)",
        same_as="in_batch_infonce",
    ),
    row(
        name="n_pair",
        year=2016,
        of=lambda m: (_batch(m), infonce),
        words="golds of the other pairs of a batch, one of each class; softmax",
        source="Sohn (2016), N-pair loss",
        differs="The classes of a batch differ: here one may come twice.",
        same_as="in_batch_infonce",
    ),
    row(
        name="spce",
        year=2021,
        of=lambda m: (_batch(m), spce),
        words="a lower bound of the information: the gold's weight over the mean of all m + 1",
        source="Foster et al. (2021), sPCE",
        same_as="in_batch_infonce",
    ),
    row(
        name="decoupled_contrastive",
        year=2022,
        of=lambda m: (_batch(m), decoupled),
        words="InfoNCE without the gold in the denominator",
        source="Yeh et al. (2022), decoupled contrastive learning",
        status=READ,
        differs="No scores are best for a label of large pop(y|x): they grow without end; the code "
        "masks by adding the logarithm of 1e-45.",
    ),
    row(
        name="decoupled_views",
        year=2022,
        of=lambda m: (in_batch(batch_of(m, 2), views=2), decoupled),
        words="both views of the m / 2 other images in the softmax, the image's own other view "
        "not; labels and inputs are views",
        source="Yeh et al. (2022), DCL; lightly DCLLoss",
        status=READ,
        differs="Images of an epoch do not repeat, as in simclr.",
    ),
    row(
        name="flatnce",
        year=2021,
        of=lambda m: (_batch(m), decoupled),
        words="exp(v - v held fixed), v the log-sum of s_y - s_gold: its value is 1, its gradient "
        "that of v",
        source="Chen et al. (2021), FlatNCE",
        status=READ,
        differs="The loss here is v.",
        same_as="decoupled_contrastive",
    ),
    row(
        name="infoloob",
        year=2022,
        of=lambda m: (_batch(m), donsker_varadhan),
        words="the gold's weight over the mean of the negatives alone",
        source="Poole et al. (2019); Fürst et al. (2022), CLOOB, without its Hopfield networks",
        same_as="decoupled_contrastive",
    ),
    row(
        name="snmc",
        year=2021,
        of=lambda m: (_batch(m), donsker_varadhan),
        words="an upper bound of the information: the gold not in the mean",
        source="Foster et al. (2021), sNMC",
        same_as="decoupled_contrastive",
    ),
    row(
        name="dhel",
        year=2024,
        of=lambda m: (_batch(m), decoupled),
        words="a log-sum over one view of the other images, the gold not in it",
        source="Koromilas et al. (2024), DHEL; the scores of negatives are those of anchors",
        same_as="decoupled_contrastive",
    ),
    row(
        name="donsker_varadhan",
        year=2018,
        of=lambda m: (_batch(m), donsker_varadhan),
        words="minus the gold's score and the log of the mean weight",
        source="Belghazi et al. (2018), MINE, without its moving average",
        same_as="decoupled_contrastive",
    ),
    row(
        name="nwj",
        year=2010,
        of=lambda m: (_batch(m), nwj),
        words="minus the gold's score and the mean of e^(s - 1)",
        source="Nguyen et al. (2010); Belghazi et al. (2018), f-MINE",
    ),
    row(
        name="tuba",
        year=2019,
        of=lambda m, baseline=1.0: (_batch(m), tuba(baseline)),
        words="minus the gold's score, a baseline, and the mean of e^(s - baseline)",
        source="Poole et al. (2019), a constant baseline",
        differs="The baseline is learned, one for each input: here it is an option, one for all.",
        same_as="nwj",
    ),
    row(
        name="deep_infomax",
        year=2019,
        of=lambda m: (_batch(m), jsd),
        words="softplus(-s) of the gold and the mean softplus(s) of the negatives",
        source="Hjelm et al. (2019), the Jensen-Shannon estimate",
    ),
    row(
        name="smile",
        year=2020,
        of=lambda m, clip=5.0: (_batch(m), smile(clip)),
        words="the Donsker-Varadhan bound with scores of negatives clipped",
        source="Song & Ermon (2020), the value of SMILE",
        status=READ,
        differs="The code takes the gradient of the Jensen-Shannon estimate, and Z over a batch.",
    ),
    row(
        name="rince",
        year=2022,
        of=lambda m, q=0.5, lam=0.01: (_batch(m), rince(q, lam)),
        words="((lam Z)^q - e^(q s)) / q with the gold in Z, between InfoNCE at q = 0 and a sum at "
        "q = 1, which noise in the golds does not move",
        source="Chuang et al. (2022), RINCE; q and lam are the user's",
        status=READ,
        differs=IN_BATCH,
    ),
    row(
        name="spectral",
        year=2021,
        of=lambda m: (_batch(m), spectral),
        words="-2 times the gold's score and the mean square of the negatives'",
        source="HaoChen et al. (2021)",
        status=READ,
        differs="The code clips the norms.",
    ),
    row(
        name="rpc",
        year=2021,
        of=lambda m, alpha=1.0, beta=0.005, gamma=1.0: (_batch(m), rpc(alpha, beta, gamma)),
        words="minus the gold's score, alpha times the mean of the negatives', and squares of both",
        source="Tsai et al. (2021), relative predictive coding",
    ),
    row(
        name="instance_discrimination",
        year=2018,
        of=lambda m, log_z=0.0: (iid(uniform(), m, hits="keep"), shifted_nce(log_z)),
        words="m of the memory, uniform, hits kept; NCE with p = e^s / Z_0",
        source="Wu et al. (2018), non-parametric instance discrimination",
        status=READ,
        differs="Z_0 is taken from the first batch and kept: here log_z is an option; the memory's "
        "vectors are older than the model.",
        popular=False,
    ),
    row(
        name="cmc",
        year=2020,
        of=lambda m, log_z=0.0: (iid(uniform(), m, hits="keep"), shifted_nce(log_z)),
        words="m of the other view's memory, uniform, hits kept; NCE with p = e^s / Z_0, and the "
        "same from that view to this one",
        source="Tian et al. (2020), contrastive multiview coding, one of two directions",
        differs="As instance_discrimination.",
        popular=False,
        same_as="instance_discrimination",
    ),
    row(
        name="ring",
        year=2021,
        of=lambda m, least=0.1, most=0.5: (iid(rank_shares(least, most), m), infonce),
        words="m wrong labels, uniform between two shares of their ranks by score",
        source="Wu et al. (2021), conditional NCE; the two shares are the user's",
        popular=False,
    ),
    row(
        name="facenet_semi_hard",
        year=2015,
        of=lambda m, margin=0.2: (iid(semi_hard(margin), m), hinge(margin)),
        words="m wrong labels that score below the gold by less than the margin, uniform; hinge",
        source="Schroff et al. (2015), FaceNet, with the scores minus squared distances",
        differs="Among those of a batch.",
        popular=False,
        on_example={"margin": 1.5},
    ),
]
