"""Recommendation of items to users, two-tower models among them.

Items seen by a user are the side ``positives``; where it is not read, the gold alone is left out.
"""

from functools import partial

from nce_bias._near_gold import window
from nce_bias.losses import (
    bpr,
    ccl,
    hinge,
    infonce,
    negative_sampling,
    psl,
    ranking_nce,
    sampled_softmax,
)
from nce_bias.presets._convention import IN_BATCH, READ, Convention, rest
from nce_bias.presets._losses import decoupled, tempered_decoupled
from nce_bias.presets._score_proposals import (
    best_of_pool,
    by_rank,
    less_log_popularity,
    nearest_of_pool,
)
from nce_bias.presets._side_proposals import best_by, outside, popular_outside, sides, softmax_of
from nce_bias.proposals import mixture, popularity, uniform
from nce_bias.samplers import best_of, iid, in_batch

row = partial(Convention, family="recommendation")
ROWS = [
    row(
        name="bpr",
        year=2009,
        of=lambda m: (iid(uniform(), m), bpr),
        words="m wrong items, uniform; -log sigma(s_gold - s_y) of each",
        source="Rendle et al. (2009)",
        differs="Most code draws m = 1, and none of the user's items: bpr_unseen.",
        same_as="uniform_infonce",
        same_m=1,
    ),
    row(
        name="bpr_unseen",
        year=2009,
        of=lambda m: (iid(outside("positives"), m), bpr),
        words="m items that the user has not, uniform; -log sigma(s_gold - s_y) of each",
        source="Rendle et al. (2009); RecBole's uniform sampler",
        status=READ,
        sides=sides("positives"),
    ),
    row(
        name="bpr_popularity",
        year=2014,
        of=lambda m, power=1.0: (iid(popularity(power), m), bpr),
        words="m wrong items by popularity; -log sigma(s_gold - s_y) of each",
        source="Rendle & Freudenthaler (2014), the baseline; RecStudio's popularity sampler",
        status=READ,
        differs="RecStudio takes log(count + 1), or count^0.75.",
        popular=True,
    ),
    row(
        name="implicit_bpr",
        year=2016,
        of=lambda m: (iid(popular_outside("positives"), m), bpr),
        words="items of other users' interactions, so by popularity, none of the user's own; -log "
        "sigma(s_gold - s_y) of each",
        source="implicit, BayesianPersonalizedRanking with verify_negative_samples",
        status=READ,
        differs="One draw; an example whose draw is one of the user's items is left out of the "
        "step: users of many popular items weigh less.",
        popular=True,
        sides=sides("positives"),
    ),
    row(
        name="dns",
        year=2013,
        of=lambda m, pool=32: (iid(best_of_pool(pool), m), bpr),
        words="the best by score of a pool of wrong items, uniform, and m such pools; -log "
        "sigma(s_gold - s_y) of each",
        source="Zhang et al. (2013); a benchmark's code for the size of the pool",
        status=READ,
        differs="RecStudio's branch for it subtracts a pair of values and indices, and cannot run.",
    ),
    row(
        name="dns_m_n",
        year=2023,
        of=lambda m, times=4: (best_of(iid(uniform(), times * m, hits="keep"), m), bpr),
        words="the m best by score of a pool, uniform over all items, the user's own among them; "
        "-log sigma(s_gold - s_y) of each",
        source="Shi et al. (2023), DNS(M, N) in the authors' code, M = m and N = times m; the "
        "factor is the user's",
        status=READ,
        differs="A benchmark's version takes one of the m best at random: the same mean, more "
        "variance.",
    ),
    row(
        name="ahns",
        year=2024,
        of=lambda m, pool=32, alpha=1.0, beta=0.1, power=-2.0: (
            iid(nearest_of_pool(pool, alpha, beta, power), m),
            bpr,
        ),
        words="of a pool of wrong items, uniform, the nearest to beta (s_gold + alpha)^(power + "
        "1), and m such pools; -log sigma(s_gold - s_y) of each",
        source="Lai et al. (2024), adaptive hardness negative sampling",
        status=READ,
        differs="With more than one pool the authors' code has one softmax over all, not pairs.",
    ),
    row(
        name="popularity_rank_bpr",
        year=2014,
        of=lambda m, scale=10.0: (iid(by_rank(scale, by_score=False), m), bpr),
        words="m wrong items in proportion to exp(-rank / scale), ranked by popularity; -log "
        "sigma(s_gold - s_y) of each",
        source="Rendle & Freudenthaler (2014), static oversampling; the scale is the user's",
        popular=True,
    ),
    row(
        name="adaptive_rank_bpr",
        year=2014,
        of=lambda m, scale=10.0: (iid(by_rank(scale, by_score=True), m), bpr),
        words="m wrong items in proportion to exp(-rank / scale), ranked by the model's scores; "
        "-log sigma(s_gold - s_y) of each",
        source="Rendle & Freudenthaler (2014), adaptive oversampling; the scale is the user's",
        differs="Ranks are taken along one factor of the user, drawn by its weight, to be fast.",
    ),
    row(
        name="irgan",
        year=2017,
        of=lambda m, temperature=1.0: (
            iid(softmax_of("generator", temperature), m, hits="keep"),
            negative_sampling,
        ),
        words="m draws from the softmax of the generator; logistic loss of the discriminator",
        source="Wang et al. (2017), IRGAN, the discriminator's step at a frozen generator",
        sides=sides("generator"),
    ),
    row(
        name="pinsage",
        year=2018,
        of=lambda m, hard=1, first=2000, last=5000, margin=1.0: (
            iid(uniform(), rest(m, hard, "hard")) + iid(best_by("pagerank", last, first), hard),
            hinge(margin),
        ),
        words="uniform items, and some of ranks 2000 to 5000 by PageRank from the input; hinge",
        source="Ying et al. (2018), PinSage, a step of its curriculum; the margin is the user's",
        differs="Uniform negatives are shared by the batch; hard ones are one more every epoch.",
        sides=sides("pagerank"),
        on_example={"first": 1, "last": 3},
    ),
    row(
        name="facebook_ebr",
        year=2020,
        of=lambda m, share=100 / 101, first=101, last=500, margin=1.0: (
            iid(mixture(uniform(), window(first, last), share), m),
            hinge(margin),
        ),
        words="each of m wrong items uniform, or with chance 1/101 of ranks 101 to 500 by score; "
        "hinge",
        source="Huang et al. (2020), embedding-based retrieval; the margin is the user's",
        on_example={"first": 1, "last": 2},
    ),
    row(
        name="tfrs_in_batch",
        year=2019,
        of=lambda m: (iid(popularity(), m, hits="mask"), ranking_nce),
        words="golds of m other examples, hits masked; log q off gold and negatives",
        source="TensorFlow Recommenders, tasks.Retrieval with candidate_sampling_probability and "
        "remove_accidental_hits; Yi et al. (2019)",
        status=READ,
        differs=IN_BATCH,
        popular=True,
    ),
    row(
        name="tfrs_in_batch_with_hits",
        year=2019,
        of=lambda m: (iid(popularity(), m, hits="keep"), ranking_nce),
        words="golds of m other examples, hits kept; log q off gold and negatives",
        source="TensorFlow Recommenders, tasks.Retrieval with candidate_sampling_probability; Yi "
        "et al. (2019)",
        status=READ,
        differs=IN_BATCH,
        popular=True,
        same_as="ranking_nce",
    ),
    row(
        name="tfrs_hard_negatives",
        year=2022,
        of=lambda m, times=4: (
            best_of(in_batch(times * m + 1, hits="mask"), m, by=less_log_popularity()),
            ranking_nce,
        ),
        words="of the golds of times m other examples, hits masked, the m with the largest "
        "corrected scores; log q off gold and negatives",
        source="TensorFlow Recommenders, tasks.Retrieval with num_hard_negatives, "
        "candidate_sampling_probability and remove_accidental_hits; the batch is the user's",
        status=READ,
        differs="One batch serves all its examples, whose gradients depend on each other.",
        popular=True,
    ),
    row(
        name="in_batch_hardest",
        year=2022,
        of=lambda m, times=4: (best_of(in_batch(times * m + 1), m), infonce),
        words="of the golds of times m other examples, hits kept, the m with the largest scores; "
        "no correction",
        source="TensorFlow Recommenders, tasks.Retrieval with num_hard_negatives; Keras RS, its "
        "hard negatives; the batch is the user's",
        status=READ,
        differs="One batch serves all its examples, whose gradients depend on each other.",
        popular=True,
    ),
    row(
        name="yi_2019",
        year=2019,
        of=lambda m: (iid(popularity(), m, hits="keep"), ranking_nce),
        words="golds of m other examples, log of their frequency off all columns",
        source="Yi et al. (2019)",
        differs="q is estimated as the data stream by, and has noise: here it is known.",
        popular=True,
        same_as="ranking_nce",
    ),
    row(
        name="corrected_logq",
        year=2025,
        of=lambda m: (iid(popularity(), m), sampled_softmax),
        words="log of q / (1 - q_gold) off the negatives, the gold outside the softmax, its loss "
        "weighted by one minus the gold's estimated chance: the gradient is that of sampled "
        "softmax with the m negatives that are not the gold",
        source="Khrylchenko et al. (2025)",
        status=READ,
        differs="m is the number of negatives that are left once hits are taken out, which in a "
        "batch is random; its value is not that of the loss here, whose gradient it has. The "
        "authors' script in_batch mixes uniform and de-duplicated labels of the batch.",
        popular=True,
        same_as="bengio_senecal_2008",
    ),
    row(
        name="mixed_negative_sampling",
        year=2020,
        of=lambda m, share=0.5: (
            iid(mixture(popularity(), uniform(), share), m, hits="mask"),
            ranking_nce,
        ),
        words="in-batch and uniform negatives half and half; log q of the mixture off all",
        source="Yang et al. (2020)",
        differs="A fixed number of each kind, not a coin for each draw.",
        popular=True,
    ),
    row(
        name="negative_cache",
        year=2021,
        of=lambda m: (iid(softmax_of("stale"), m, hits="keep"), decoupled),
        words="one label from the softmax of stale scores; its score, freshly computed, less the "
        "gold's (m = 1)",
        source="Lindgren et al. (2021); m > 1 in a softmax without the gold",
        sides=sides("stale"),
    ),
    row(
        name="ssm",
        year=2022,
        of=lambda m: (iid(popularity(), m, hits="keep"), infonce),
        words="in-batch items; softmax of cosines over a temperature, no correction",
        source="Wu et al. (2022), sampled softmax for recommendation",
        differs=IN_BATCH,
        popular=True,
        same_as="in_batch_infonce",
    ),
    row(
        name="uniform_infonce",
        year=2022,
        of=lambda m: (iid(uniform(), m), infonce),
        words="m wrong items, uniform; softmax over gold and negatives, no correction",
        source="Wu et al. (2022), with uniform negatives",
    ),
    row(
        name="simplex",
        year=2021,
        of=lambda m, weight=150.0, margin=0.4: (iid(uniform(), m), ccl(weight, margin)),
        words="m wrong items, uniform; 1 - cosine of the gold, and weight times the mean cosine of "
        "negatives above a margin",
        source="Mao et al. (2021), SimpleX, cosine contrastive loss",
        status=READ,
        differs="RecStudio takes sigmoids for cosines.",
    ),
    row(
        name="bsl",
        year=2023,
        of=lambda m, temperature=1.0: (iid(uniform(), m), tempered_decoupled(temperature)),
        words="m wrong items, uniform; a log-sum at a temperature of its own, the gold not in it",
        source="Wu et al. (2023), BSL with one positive; the temperature is the user's",
        status=READ,
        differs="Only one mode of the code has several positives, which the loss is made for.",
    ),
    row(
        name="psl",
        year=2024,
        of=lambda m, temperature=0.1: (iid(uniform(), m), psl(temperature)),
        words="m wrong items, uniform; log sum of sigma(s_y - s_gold)^(1 / temperature)",
        source="Yang et al. (2024), PSL with the logistic function",
    ),
    row(
        name="ncf",
        year=2017,
        of=lambda m: (iid(outside("positives"), m), negative_sampling),
        words="m items that the user has not, uniform; logistic loss",
        source="He et al. (2017), neural collaborative filtering",
        sides=sides("positives"),
    ),
    row(
        name="item2vec",
        year=2016,
        of=lambda m, power=0.75: (iid(popularity(power), m, hits="mask"), negative_sampling),
        words="word2vec with items for words and baskets for sentences",
        source="Barkan & Koenigstein (2016); Grbovic et al. (2015), prod2vec",
        popular=True,
        same_as="word2vec",
    ),
]
