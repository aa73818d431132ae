r"""Published losses that are sums of log-sums, each a line of terms (`LogSums`).

=======================  ======================================  ===============================
loss                     formula                                 source
=======================  ======================================  ===============================
`blackout`               -log pi(1) - sum_k log(1 - pi(k))       Ji et al. (2016), weights e^s/q
`jackknifed_softmax`     -s_g + m L - (m - 1) mean_k L_(k)       Nowozin (2018), order 1
`psl(temperature)`       log sum_k sigma(s_k - s_g)^{1/tau}      Yang et al. (2024), PSL, as we
                                                                 read it
`smile(clip)`            -s_g + log mean_k e^{[s_k]}             Song & Ermon (2020), the value
`mil_nce`                log Z - log Z_positives                 Miech et al. (2020)
`gce(q)`                 (1 - pi(1)^q) / q                       Zhang & Sabuncu (2018)
`rince(q, lam)`          (lam Z)^q / q - e^{q s_g} / q           Chuang et al. (2022)
`self_adversarial(...)`  softplus(-s_g) + sum_k pi_k             Sun et al. (2019), RotatE
                         softplus(s_k), pi detached
=======================  ======================================  ===============================

BlackOut's log(1 - pi(k)) is log Z without draw k less log Z, so the loss is

    (m + 1) log Z - sum_k log Z_(k) - log w_g :

its expectation takes the laws of m and of m - 1 draws. Draws equal to the gold are what the sampler
makes of them (the authors' code drops them).

L = log(w_g + mean_k w_k / q_k) is sampled softmax's, of bias of the order 1/m; L_(k) is without
draw k, and the jackknife leaves a bias of the order 1/m^2. With one draw it is sampled softmax.

[s] is s clipped to [-clip, clip]. SMILE takes the gradient of another estimate in the authors'
code. PSL is with sigma the logistic function, the paper's tanh(d / 2) + 1 but for a factor.

Z_positives of `mil_nce` is of the gold and of the first part of a sum of samplers, which draws or
lists the other positives of the input; Z is of all. Divided by how many positives there are, it is
SupCon with the mean inside the logarithm (Khosla et al., 2020), of the same gradient. With the mean
outside, every positive is a gold in its turn and the others are candidates like negatives: that is
`nb.infonce`, the positives a part of the sum.

pi(1)^q is a power -q of Z / w_g. `gce` is the mean absolute error 1 - pi(1) for q = 1, InfoNCE for
q to 0; `rince`, whose weights have the temperature in them, is InfoNCE and log lam for q to 0.

In self-adversarial negatives pi is the softmax of alpha s over the negatives, a constant to the
gradient.

Fewer draws than all are independent ones: `blackout` and `jackknifed_softmax` need `iid`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from nce_bias._checks import refuse
from nce_bias.losses.log_sum import LogSum
from nce_bias.losses.log_sums import LogSums
from nce_bias.losses.weighted_mean import WeightedMean

#: Largest q of `gce`.
MOST_Q = 4


def _negated(gold):
    return -gold


def _same(score):
    return score


def _mean(negative, m):
    return negative - jnp.log(m)


def _mean_without(negative, m):
    return negative - jnp.log(jnp.maximum(m - 1, 1))


blackout = LogSums(
    "blackout",
    [
        LogSum(lambda m: m + 1, _same, _same),
        LogSum(lambda m: -m, _same, _same, leaves_one_out=True),
    ],
    _negated,
    ("log_q", "log_q"),
)
jackknifed_softmax = LogSums(
    "jackknifed_softmax",
    [
        LogSum(lambda m: m, _mean, _same),
        LogSum(lambda m: 1 - m, _mean_without, _same, leaves_one_out=True),
    ],
    _negated,
    ("none", "log_q"),
)

mil_nce = LogSums("mil_nce", [LogSum(1.0, _same, _same), LogSum(-1.0, _same, _same, part=0)])


def psl(temperature: float = 0.1) -> LogSums:
    """log sum_k sigma(s_k - s_g)^{1/temperature}: a softmax loss whose exponential levels off.

    >>> psl()
    psl(temperature=0.1)

    Raises ValueError for a temperature that is not positive.
    """
    tau = _positive("temperature", temperature)

    def beaten(gold, negative):
        return jax.nn.log_sigmoid(negative - gold) / tau

    return LogSums(f"psl(temperature={tau:g})", LogSum(1.0, beaten))


def smile(clip: float = 5.0) -> LogSums:
    """-s_g + log mean_k e^{s_k}, s_k clipped to [-clip, clip]: Donsker and Varadhan's, clipped.

    >>> smile(1.0)
    smile(clip=1)

    Raises ValueError for a clip that is not positive.
    """
    most = _positive("clip", clip)

    def clipped(negative, m):
        return jnp.clip(negative, -most, most) - jnp.log(m)

    return LogSums(f"smile(clip={most:g})", LogSum(1.0, clipped), _negated)


def self_adversarial(alpha: float = 1.0) -> LogSums:
    """softplus(-s_g) + sum_k pi_k softplus(s_k), pi the softmax of alpha s over the negatives.

    >>> self_adversarial(0.5)
    self_adversarial(alpha=0.5)

    Raises ValueError for an alpha that is not positive; alpha to 0 is `jsd`.
    """
    sharpness = _positive("alpha", alpha)
    term = WeightedMean(1.0, jax.nn.softplus, lambda negative: sharpness * negative)
    return LogSums(
        f"self_adversarial(alpha={sharpness:g})", term, lambda gold: jax.nn.softplus(-gold)
    )


def gce(q: float = 0.7) -> LogSums:
    """(1 - pi(1)^q) / q, the generalised cross entropy of the candidate softmax.

    >>> gce(1.0)
    gce(q=1)

    Raises ValueError for q that is not positive, or over 4.
    """
    power = _positive("q", q)
    if power > MOST_Q:
        raise refuse("q", f"got {q!r}", f"a number in (0, {MOST_Q}]", "Leave it out for 0.7.")

    def beside_gold(gold, negative):
        return negative - gold

    return LogSums(f"gce(q={power:g})", LogSum(1.0, beside_gold, _nothing, power=-power))


def rince(q: float = 0.5, lam: float = 0.01) -> LogSums:
    """((lam Z)^q - e^{q s_g}) / q: robust InfoNCE, between a sum over candidates and InfoNCE.

    >>> rince()
    rince(q=0.5, lam=0.01)

    Raises ValueError for q outside of (0, 1), and for lam that is not positive.
    """
    power, weight = _positive("q", q), math.log(_positive("lam", lam))
    if power >= 1:
        raise refuse(
            "q",
            f"got {q!r}",
            "a number in (0, 1)",
            "For q = 1 the loss is a sum over candidates: nb.Additive('rince', lambda s: (lam - 1) "
            "* jnp.exp(s), lambda s: lam * jnp.exp(s)).",
        )

    def weighted(score):
        return score + weight

    def own(gold):
        return -jnp.expm1(power * gold) / power

    term = LogSum(1.0, weighted, weighted, power=power)
    return LogSums(f"rince(q={power:g}, lam={math.exp(weight):g})", term, own)


def _nothing(gold):
    return 0.0 * gold


def _positive(name: str, value: float) -> float:
    number = float(value) if isinstance(value, int | float) else math.nan
    if not 0 < number < math.inf:
        raise refuse(name, f"got {value!r}", "a number > 0", "Leave it out for the usual one.")
    return number
