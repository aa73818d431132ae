"""Knowledge graphs and graphs: one slot of a triple, or one end of an edge, is corrupted.

The other slot is an input of its own: a problem has rows for both.
"""

from functools import partial

from nce_bias.losses import hinge, infonce, jsd, negative_sampling
from nce_bias.presets._convention import READ, Convention, halves
from nce_bias.presets._side_proposals import among, outside, sides
from nce_bias.proposals import popularity, uniform
from nce_bias.samplers import Sampler, iid, without_replacement

row = partial(Convention, family="graphs")
ROWS = [
    row(
        name="transe",
        year=2013,
        of=lambda m, margin=1.0: (iid(uniform(), m), hinge(margin)),
        words="m entities in place of the right one, uniform; hinge on score differences",
        source="Bordes et al. (2013), margin 1 on the scores",
        differs="A corrupted triple may be true elsewhere in the data; most code draws m = 1.",
    ),
    row(
        name="transh",
        year=2014,
        of=lambda m, margin=1.0: (iid(uniform(), m), hinge(margin)),
        words="as TransE, the slot to corrupt drawn by how many tails a head has: these chances "
        "are weights of the problem's inputs",
        source="Wang et al. (2014), Bernoulli corruption",
        status=READ,
        same_as="transe",
    ),
    row(
        name="type_constrained",
        year=2015,
        of=lambda m, margin=1.0: (iid(among("seen_in_slot"), m), hinge(margin)),
        words="m entities that occur in this slot of the relation, uniform; hinge",
        source="Krompaß et al. (2015), local closed world; PyKEEN, pseudo-typed sampling",
        status=READ,
        sides=sides("seen_in_slot"),
    ),
    row(
        name="complex_logistic",
        year=2016,
        of=lambda m: (iid(uniform(), m), negative_sampling),
        words="m entities in place of the right one, uniform; logistic loss on each triple",
        source="Trouillon et al. (2016), ComplEx",
    ),
    row(
        name="rotate_uniform",
        year=2019,
        of=lambda m: (iid(outside("positives"), m), jsd),
        words="m entities that make no known triple, uniform; logistic loss, the negatives "
        "averaged",
        source="Sun et al. (2019), RotatE's code without adversarial weights",
        status=READ,
        differs="Half of it, with a weight of the triple. With adversarial weights it is rotate.",
        sides=sides("positives"),
    ),
    row(
        name="pbg",
        year=2019,
        of=lambda m: (_from_batch_and_all(*halves(m)), infonce),
        words="half of the negatives from the batch, half uniform; softmax, no correction",
        source="Lerer et al. (2019), PyTorch-BigGraph, 50 and 50 of a chunk",
        status=READ,
        differs="The half from the batch is shared by its chunk: here draws are independent.",
        popular=True,
    ),
    row(
        name="sans",
        year=2020,
        of=lambda m: (iid(among("neighbours"), m), jsd),
        words="m entities near the input's in the graph, uniform; logistic loss, the negatives "
        "averaged",
        source="Ahrabian et al. (2020), uniform SANS on RotatE's loss",
        sides=sides("neighbours"),
    ),
    row(
        name="line",
        year=2015,
        of=lambda m, power=0.75: (iid(popularity(power), m, hits="keep"), negative_sampling),
        words="m nodes by degree^0.75, the right one not left out; logistic loss",
        source="Tang et al. (2015), LINE, its code",
        status=READ,
        popular=True,
    ),
    row(
        name="graphsage",
        year=2017,
        of=lambda m, power=0.75: (iid(popularity(power), m, hits="keep"), negative_sampling),
        words="m nodes by degree^0.75; logistic loss on inner products",
        source="Hamilton et al. (2017), the unsupervised loss",
        differs="One set of negatives serves a whole batch: here every example has its own.",
        popular=True,
        same_as="line",
    ),
    row(
        name="node2vec",
        year=2016,
        of=lambda m, power=0.75: (iid(popularity(power), m, hits="mask"), negative_sampling),
        words="skip-gram with negative sampling on random walks: word2vec with nodes for words",
        source="Grover & Leskovec (2016), with gensim's word2vec",
        popular=True,
        same_as="word2vec",
    ),
    row(
        name="poincare",
        year=2017,
        of=lambda m: (without_replacement(outside("positives"), m), infonce),
        words="m distinct nodes that are no neighbours, uniform; softmax over them and the "
        "neighbour",
        source="Nickel & Kiela (2017), Poincaré embeddings, its code",
        status=READ,
        differs="For a few epochs negatives are drawn by degree; a neighbour of lower weight "
        "counts as a negative.",
        sides=sides("positives"),
    ),
]


def _from_batch_and_all(batch: int, uniform_ones: int) -> Sampler:
    return iid(popularity(), batch, hits="keep") + iid(uniform(), uniform_ones, hits="keep")
