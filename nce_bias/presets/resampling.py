"""Pools that are resampled, and negatives with weights of their own, of several families.

A pool drawn from a proposal, m of it taken by weight; or all of it, each with its share of the
weight, which is a constant to the gradient.
"""

from functools import partial

from nce_bias.losses import hinge, infonce, self_adversarial
from nce_bias.presets._convention import IN_BATCH, READ, Convention
from nce_bias.presets._losses import alpha_cl, mean_bpr, softmax_weighted_bpr
from nce_bias.presets._score_proposals import less_log_popularity
from nce_bias.presets._side_proposals import outside, sides
from nce_bias.proposals import popularity, uniform
from nce_bias.samplers import iid, resampled

graphs = partial(Convention, family="graphs")
items = partial(Convention, family="recommendation")
images = partial(Convention, family="self_supervised")
ROWS = [
    graphs(
        name="rotate",
        year=2019,
        of=lambda m, alpha=1.0: (iid(outside("positives"), m), self_adversarial(alpha)),
        words="m entities that make no known triple, uniform; logistic loss, the negatives "
        "weighted by their softmax at alpha times the score, held fixed",
        source="Sun et al. (2019), RotatE, its code",
        status=READ,
        differs="Half of it, with a weight of the triple.",
        sides=sides("positives"),
    ),
    graphs(
        name="kbgan",
        year=2018,
        of=lambda m, pool=20, margin=1.0: (
            resampled(iid(uniform(), pool), "generator", m),
            hinge(margin),
        ),
        words="a pool of uniform corruptions, m of it by the softmax of a second model's scores; "
        "hinge on score differences",
        source="Cai & Wang (2018), KBGAN, its code; m = 1 and a pool of 20 there",
        status=READ,
        differs="The slot to corrupt is drawn by how many tails a head has: these chances are "
        "weights of the problem's inputs. The generator's own step is another loss.",
        sides=sides("generator"),
    ),
    items(
        name="pris",
        year=2020,
        of=lambda m, temperature=1.0: (iid(popularity(), m), softmax_weighted_bpr(temperature)),
        words="m popular items; -log sigma(s_gold - s_y) of each, weighted by the softmax of "
        "s_y / temperature - log q among them, held fixed",
        source="Lian et al. (2020), PRIS; AdaSIR's code with weights",
        status=READ,
        differs="AdaSIR's code draws distinct items, the gold among them, by log(count + 1).",
        popular=True,
    ),
    items(
        name="adasir",
        year=2022,
        of=lambda m, pool=200: (
            resampled(iid(uniform(), pool, hits="keep"), m=m),
            mean_bpr,
        ),
        words="a pool of uniform items, none left out, m of it by the softmax of their scores; the "
        "mean of -log sigma(s_gold - s_y)",
        source="Chen et al. (2022), AdaSIR's code, uniform, two passes",
        status=READ,
        differs="In the code 50 of 200 are taken by weight and kept for an epoch, and each "
        "example draws from those 50, half of whom may be older: the same mean but for these. The "
        "popular variant draws its pool without "
        "replacement and corrects by the q of one draw.",
    ),
    items(
        name="bir",
        year=2022,
        of=lambda m, times=8: (
            resampled(iid(popularity(), times * m, hits="keep"), less_log_popularity(), m),
            infonce,
        ),
        words="the items of a batch, m of them by the softmax of score less log popularity; "
        "softmax over gold and negatives",
        source="Chen et al. (2022), BIR: cross-batch resampling (XIR) adds items of other batches",
        differs=IN_BATCH,
        popular=True,
    ),
    images(
        name="alpha_cl",
        year=2022,
        of=lambda m, temperature=1.0: (iid(popularity(), m, hits="keep"), alpha_cl(temperature)),
        words="the other images of a batch; sum of exp((s_y - 1) / temperature) (s_y - s_gold), "
        "the weights held fixed, for cosines",
        source="Tian (2022), alpha-CL, the code's loss 'dual'",
        status=READ,
        differs=f"The code has both views of every other image. {IN_BATCH}",
        popular=True,
    ),
]
