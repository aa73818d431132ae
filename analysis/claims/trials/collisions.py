r"""Negatives of one's own class, and whether many of them hurt.

Labels in C classes; a gold is of the anchor's class but for a share `STRAY`, every label of a class
alike. Negatives are uniform, so one of C is of the anchor's own class, a collision. Two papers
disagree over whether that makes many negatives harmful; two numbers of theirs are exact.

**On the way.** The pull that parts the class from the rest is the gradient along its scores,
D(m) = sum over the class of (pop - gamma). Beside it D_free(m), negatives from other classes alone.
Of D_free the share 1 - D / D_free is *lost to collisions*. As m grows, gamma in the class tends to
the model's mass there with uniform draws, and to 0 without collisions: the share lost to that mass
over pop's. With one draw, of the gold's class with chance 1/C, it is about 1/C: it grows with m
wherever the model is better than chance.

**Where it ends.** With uniform draws, hits kept, the gradient vanishes at log pop + c for every m
(`nce_bias.fixed_point`): the *margin* between class and rest is that of the data whatever the
number of collisions. A hit removed takes a rival from each gold alone and widens it.
"""

import numpy as np
from scipy.special import log_softmax

import nce_bias as nb
from analysis import problems
from analysis.claims.optimum import at_rest
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, STRAY, SEED = 40, 0.1, 0
CLASSES = (2, 10)
SIZES = (1, 2, 4, 16, 64)
CLAIM = Claim(
    title="Many negatives collide and hurt",
    paper="Ash et al., the role of negatives, against Awasthi et al.",
    year=2022,
    said=(
        "As negatives become many, more of them are of the anchor's own class, and past a number "
        "that grows with the classes more negatives hurt (Ash et al.); where positives are drawn "
        "from the class, they do not (Awasthi et al.)."
    ),
    read="abstracts of both",
    measured=(
        "share of the pull on a class that is lost to collisions, with most negatives over that "
        "with one, at least 1; margin learnt with most negatives over the best with fewer, at most "
        "0.99"
    ),
    prediction=(
        "What is lost grows with m, for few and for many classes. The margin is the same for every "
        "m with hits kept, so nothing hurts; it grows where hits are removed. The pull itself and "
        "the bias against cross entropy are better with more."
    ),
    lesson=(
        "Both are right: collisions take more of the pull as negatives become many, and leave the "
        "optimum where it was. In the gradient there is no number of negatives that is too large; "
        "what a bounded encoder makes of it is another question."
    ),
)


def problem(classes: int) -> nb.Problem:
    """One anchor of the first class, half trained."""
    own = of_class(classes)
    chances = np.where(own, (1 - STRAY) / own.sum(), STRAY / (~own).sum())
    uniform = np.full(LABELS, 1 / LABELS)
    rng = np.random.default_rng(SEED)
    return problems.half_trained(log_softmax(np.log(chances)), rng, popularity=uniform)


def of_class(classes: int) -> np.ndarray:
    """Which labels are of the anchor's class."""
    return np.arange(LABELS) < LABELS // classes


def pull(classes: int, m: int, *, free: bool = False) -> float:
    """D(m), or D_free(m)."""
    given, own = problem(classes), of_class(classes)
    drawn = ~own if free else np.ones_like(own)
    sampler = nb.iid(nb.from_probabilities(drawn / drawn.sum()), m, hits="keep")
    found = nb.exact(given, sampler, nb.infonce, split=False)
    return -float(np.asarray(found.gradient)[own].sum())


def margin(classes: int, m: int, hits: str) -> float:
    """Mean score of the class above that of the rest, where the gradient vanishes."""
    found = at_rest(problem(classes), nb.iid(nb.uniform(), m, hits=hits), nb.infonce)
    scores, own = np.asarray(found.scores), of_class(classes)
    return float(scores[own].mean() - scores[~own].mean())


def weigh(quick: bool = False) -> Evidence:
    """What is lost and what is learnt, for few classes and many."""
    sizes = SIZES[::2] if quick else SIZES
    readings, details = [], []
    for classes in CLASSES:
        all_labels = np.array([pull(classes, m) for m in sizes])
        others = np.array([pull(classes, m, free=True) for m in sizes])
        lost = 1 - all_labels / others
        name = f"{classes} classes"
        readings.append(Reading(f"{name}: lost to collisions", lost[-1] / lost[0], ">=", 1.0))
        for hits, kept in (("keep", "kept"), ("mask", "removed")):
            margins = [margin(classes, m, hits) for m in sizes]
            ratio = margins[-1] / max(margins[:-1])
            place = f"{name}: margin learnt, hits {kept}"
            readings.append(Reading(place, ratio, "<=", 0.99, beyond=hits == "mask"))
        ratio = float(all_labels[-1] / all_labels[:-1].max())
        readings.append(Reading(f"{name}: pull", ratio, "<=", 0.99, beyond=True))
        biases = [bias(classes, m) for m in sizes]
        place = f"{name}: bias against cross entropy"
        readings.append(Reading(place, biases[-1] / min(biases[:-1]), ">=", 1.01, beyond=True))
        for line, values in {"all labels": all_labels, "other classes": others}.items():
            details += [
                {"line": f"{line}, {name}", "m": m, "pull": v}
                for m, v in zip(sizes, values, strict=True)
            ]
    return Evidence(readings, details)


def bias(classes: int, m: int) -> float:
    """The bias norm, uniform draws, hits kept."""
    sampler = nb.iid(nb.uniform(), m, hits="keep")
    return float(nb.exact(problem(classes), sampler, nb.infonce, split=False).bias_norm)


TRIAL = Trial(CLAIM, weigh, slow=True)
