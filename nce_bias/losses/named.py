r"""Published losses that add up over candidates, each a line of functions (`Additive`).

=================  ============================================  ==================================
loss               formula, D = s_y - s_g                        source
=================  ============================================  ==================================
`bpr`              sum_k softplus(D_k)                           Rendle et al. (2009)
`one_vs_each`      sum_k softplus(D_k) / E[copies]               Titsias (2016), subsampled
`hinge(margin)`    sum_k max(0, margin + D_k)                    Weston et al. (2010), no ranks
`ccl(...)`         1 - s_g + weight mean_k max(0, s_k - margin)  Mao et al. (2021), cosine scores
`gbce(t)`          beta softplus(-s_g) + sum_k softplus(s_k)     Petrov & Macdonald (2023)
`siglip(t, b)`     softplus(-(t s_g + b)) + sum_k                Zhai et al. (2023), one row of the
                   softplus(t s_k + b)                           batch
`spectral`         -2 s_g + mean_k s_k^2                         HaoChen et al. (2021)
`jsd`              softplus(-s_g) + mean_k softplus(s_k)         Nowozin et al. (2016)
`nwj`              -s_g + mean_k e^{s_k - 1}                     Nguyen et al. (2010)
`exponential_nce`  e^{-D_g / 2} + sum_k e^{D_k / 2} with         Liu et al. (2022), as we read it
                   D = s - log(m q)
=================  ============================================  ==================================

A mean divides by the m that was asked for, also where hits are dropped. gBCE has beta = alpha (t (1
- 1 / alpha) + 1 / alpha) with alpha = m / (V - 1); t = 0 is binary cross entropy, t = 1 calibrates
where the negatives never hold the gold. One-vs-each weights a negative by one over its expected
copies, so that its expectation is the sum over all wrong labels that can be drawn, whatever q:
Titsias' bound on -log p(g), for hits excluded.

BPR with one negative is InfoNCE with one: log(1 + e^D). All but the pairwise and corrected ones
take all golds together.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from nce_bias._checks import refuse
from nce_bias.losses.additive import Additive


def _negated(gold):
    return -gold


def _missed(gold):
    return jax.nn.softplus(-gold)


def _beaten(gold, negative):
    return jax.nn.softplus(negative - gold)


def _beaten_by_chance(gold, negative, log_count):
    return jax.nn.softplus(negative - gold) * jnp.exp(-log_count)


bpr = Additive("bpr", None, _beaten)
one_vs_each = Additive("one_vs_each", None, _beaten_by_chance)
spectral = Additive("spectral", lambda gold: -2 * gold, lambda negative, m: negative**2 / m)
jsd = Additive("jsd", _missed, lambda negative, m: jax.nn.softplus(negative) / m)
nwj = Additive("nwj", _negated, lambda negative, m: jnp.exp(negative - 1) / m)

exponential_nce = Additive(
    "exponential_nce",
    lambda gold: jnp.exp(-gold / 2),
    lambda negative: jnp.exp(negative / 2),
    ("log_mq", "log_mq"),
)


def hinge(margin: float = 1.0) -> Additive:
    """sum_k max(0, margin + s_k - s_g); at the kink the derivative by JAX, 0.

    >>> hinge(0.5)
    hinge(margin=0.5)

    Raises ValueError for a margin that is no finite number.
    """
    margin = _number("margin", margin)

    def negative(gold, negative):
        return jax.nn.relu(margin + negative - gold)

    return Additive(f"hinge(margin={margin:g})", None, negative)


def ccl(weight: float = 150.0, margin: float = 0.4) -> Additive:
    """1 - s_g + weight mean_k max(0, s_k - margin): the cosine contrastive loss of SimpleX.

    >>> ccl(weight=300.0, margin=0.9)
    ccl(weight=300, margin=0.9)

    The scores are cosines, as they are. Raises ValueError for what is no finite number.
    """
    weight, margin = _number("weight", weight), _number("margin", margin)
    name = f"ccl(weight={weight:g}, margin={margin:g})"

    def negative(negative, m):
        return weight * jax.nn.relu(negative - margin) / m

    return Additive(name, lambda gold: 1 - gold, negative)


def gbce(t: float = 0.75) -> Additive:
    """beta softplus(-s_g) + sum_k softplus(s_k): the generalised binary cross entropy of gSASRec.

    >>> gbce(t=1.0)
    gbce(t=1)

    Raises ValueError for t outside [0, 1]. Public code takes alpha = m / (V - 2), and draws the
    gold as a negative (hits="keep"), where t = 1 does not calibrate.
    """
    t = _number("t", t)
    if not 0 <= t <= 1:
        raise refuse("t", f"got {t!r}", "a number in [0, 1]", "0 is binary cross entropy.")

    def of_gold(gold, m, labels):
        alpha = m / (labels - 1)
        return alpha * (t * (1 - 1 / alpha) + 1 / alpha) * jax.nn.softplus(-gold)

    return Additive(f"gbce(t={t:g})", of_gold, lambda negative: jax.nn.softplus(negative))


def siglip(temperature: float = 10.0, bias: float = -10.0) -> Additive:
    """A logistic loss on t s + b for each pair, one row of SigLIP's batch; t is a factor there.

    >>> siglip()
    siglip(temperature=10, bias=-10)

    Raises ValueError for what is no finite number.
    """
    t, b = _number("temperature", temperature), _number("bias", bias)

    def of_gold(gold):
        return jax.nn.softplus(-(t * gold + b))

    def negative(negative):
        return jax.nn.softplus(t * negative + b)

    return Additive(f"siglip(temperature={t:g}, bias={b:g})", of_gold, negative)


def _number(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise refuse(name, f"got {value!r}", "one finite number", "Leave it out for the paper's.")
    return number
