r"""Published losses that are sums of log-sums, each a line of terms (`LogSums`).

=======================  ======================================  ===============================
loss                     formula                                 source
=======================  ======================================  ===============================
`blackout`               -log pi(1) - sum_k log(1 - pi(k))       Ji et al. (2016), weights e^s/q
`jackknifed_softmax`     -s_g + m L - (m - 1) mean_k L_(k)       Nowozin (2018), order 1
`psl(temperature)`       log sum_k sigma(s_k - s_g)^{1/tau}      Yang et al. (2024), as we read it
`smile(clip)`            -s_g + log mean_k e^{[s_k]}             Song & Ermon (2020), the value
`mil_nce`                log Z - log Z_positives                 Miech et al. (2020)
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

Fewer draws than all are independent ones: `blackout` and `jackknifed_softmax` need `iid`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from nce_bias._checks import refuse
from nce_bias.losses.log_sum import LogSum
from nce_bias.losses.log_sums import LogSums


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


def _positive(name: str, value: float) -> float:
    number = float(value) if isinstance(value, int | float) else math.nan
    if not 0 < number < math.inf:
        raise refuse(name, f"got {value!r}", "a number > 0", "Leave it out for the usual one.")
    return number
