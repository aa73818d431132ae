"""The next item of a session or a history."""

from functools import partial

from nce_bias.losses import bpr, gbce, infonce, negative_sampling
from nce_bias.presets._convention import READ, Convention
from nce_bias.presets._losses import bpr_max, gbce_of_public_code, top1
from nce_bias.presets._side_proposals import outside, sides
from nce_bias.proposals import popularity, uniform
from nce_bias.samplers import iid

row = partial(Convention, family="sequential_recommendation")
ROWS = [
    row(
        name="gru4rec_top1",
        year=2016,
        of=lambda m: (iid(popularity(), m, hits="keep"), top1),
        words="next items of the batch's other sessions; mean of sigma(s_y - s_gold) + "
        "sigma(s_y^2)",
        source="Hidasi et al. (2016), TOP1",
        status=READ,
        differs="The authors' code divides by m + 1; a batch's sessions depend on each other.",
        popular=True,
    ),
    row(
        name="gru4rec_bpr",
        year=2016,
        of=lambda m: (iid(popularity(), m, hits="keep"), bpr),
        words="next items of the batch's other sessions; -log sigma(s_gold - s_y) of each",
        source="Hidasi et al. (2016), BPR",
        differs="A mean over the negatives in the paper, here their sum.",
        popular=True,
        same_as="in_batch_infonce",
        same_m=1,
    ),
    row(
        name="gru4rec_bpr_max",
        year=2018,
        of=lambda m, power=0.5: (iid(popularity(power), m, hits="keep"), bpr_max),
        words="m items from popularity^0.5; -log of the mean of sigma(s_gold - s_y), weighted by "
        "the softmax of the negatives",
        source="Hidasi & Karatzoglou (2018), BPR-max without its penalty on scores",
        status=READ,
        differs="The authors' code adds the penalty, an exponential linear unit, and the batch's "
        "own golds.",
        popular=True,
    ),
    row(
        name="gru4rec_cross_entropy",
        year=2018,
        of=lambda m, power=0.5: (iid(popularity(power), m, hits="keep"), infonce),
        words="m items from popularity^0.5; softmax over gold and negatives, no correction",
        source="Hidasi & Karatzoglou (2018), cross entropy with additional samples",
        status=READ,
        differs="The authors' code adds the batch's own golds, and log q where its option says so.",
        popular=True,
    ),
    row(
        name="sasrec",
        year=2018,
        of=lambda m: (iid(outside("positives"), m), negative_sampling),
        words="one item outside the whole history, uniform; logistic loss (m = 1)",
        source="Kang & McAuley (2018), its code",
        status=READ,
        sides=sides("positives"),
        same_as="ncf",
    ),
    row(
        name="gsasrec",
        year=2023,
        of=lambda m, t=0.75: (iid(uniform(), m), gbce(t)),
        words="m wrong items, uniform; logistic loss, the gold's part times beta of m, V and t",
        source="Petrov & Macdonald (2023), gBCE",
        differs="Public code: gsasrec_public_code.",
    ),
    row(
        name="gsasrec_public_code",
        year=2023,
        of=lambda m, t=0.75: (iid(uniform(), m, hits="keep"), gbce_of_public_code(t)),
        words="m items uniform, the gold and the history among them; beta with m / (V - 2)",
        source="gSASRec's public code",
        status=READ,
        differs="Of the paper in both: t = 1 does not calibrate.",
    ),
    row(
        name="sasrec_sampled_ce",
        year=2023,
        of=lambda m: (iid(uniform(), m), infonce),
        words="SASRec with a softmax over the gold and m uniform items, no correction",
        source="Klenitskiy & Vasilev (2023)",
        differs="One set of negatives serves a whole sequence.",
        same_as="uniform_infonce",
    ),
    row(
        name="hstu_sampled_softmax",
        year=2024,
        of=lambda m: (iid(uniform(), m, hits="mask"), infonce),
        words="m items uniform, those equal to the gold masked; softmax of cosines over a "
        "temperature, no correction",
        source="Zhai et al. (2024), the code of generative recommenders",
        status=READ,
    ),
    row(
        name="cce_minus",
        year=2025,
        of=lambda m: (iid(uniform(), m), infonce),
        words="a kernel for the full softmax, run on uniform negatives that a batch shares",
        source="CCE-, cut cross entropy with negative sampling, its README",
        differs="Rows of a batch share their negatives; whether hits are left out was not seen.",
        same_as="uniform_infonce",
    ),
]
