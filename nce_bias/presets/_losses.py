r"""Losses that one convention has and that are no names of their own in `nce_bias.losses`.

======================  ==================================================  =====================
loss                    formula                                             kind
======================  ==================================================  =====================
`decoupled`             -s_g + log sum_k e^{s_k}                            candidate softmax
`donsker_varadhan`      -s_g + log mean_k e^{s_k}                           log-sum
`tempered_decoupled`    -s_g + tau log sum_k e^{s_k / tau}                  log-sum
`spce`                  -s_g + log of the mean e^s of gold and negatives    log-sum
`bpr_max`               -log sum_k pi_k sigma(s_g - s_k)                    two log-sums
`top1`                  mean_k sigma(s_k - s_g) + sigma(s_k^2)              additive
`shifted_nce`           NCE of s - log Z_0, with log(m q) off               additive
`log_bound`             -s_g + a Z - log a - 1                              additive
`u_max`                 u + e^{-u} (1 + sum_k e^{s_k - s_g} / E[copies])    additive
`tuba`                  -s_g + a - 1 + mean_k e^{s_k - a}                   additive
`rpc`                   -s_g + b s_g^2 / 2 + mean_k (a s_k + c s_k^2 / 2)   additive
`poisson_transform`     -s_g + sum_k e^{s_k} / (m q_k)                      additive
`mean_bpr`              mean_k softplus(s_k - s_g)                          additive
`memory_pairs`          1 - s_g + sum_k max(0, s_k - margin)                additive
`alpha_cl`              sum_k [e^{(s_k - 1) / tau}] (s_k - s_g)             additive
`softmax_weighted_bpr`  sum_k [pi_k] softplus(s_k - s_g), pi of weights     weighted mean
                        e^{s_k / tau} / E[copies]
`gbce_of_public_code`   gBCE with alpha = m / (V - 2)                       additive
`multi_similarity`      softplus(-a (s_g - c)) / a + log(1 + sum_k          log-sum
                        e^{b (s_k - c)}) / b
======================  ==================================================  =====================

[ ] is held fixed; pi is the softmax of the negatives alone; Z = e^{s_g} + sum_k e^{s_k} /
E[copies], so that its expectation is the whole partition function where every wrong label can be
drawn. A mean divides by the m that was asked for.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nce_bias.losses import Additive, CandidateSoftmax, LogSum, LogSums, WeightedMean


def _negated(gold):
    return -gold


def _same(score):
    return score


def _mean(negative, m):
    return negative - jnp.log(m)


def _beaten(gold, negative):
    return negative + jax.nn.log_sigmoid(gold - negative)


decoupled = CandidateSoftmax("decoupled", "none", "none", competes=False)
donsker_varadhan = LogSums("donsker_varadhan", LogSum(1.0, _mean), _negated)
spce = LogSums("spce", LogSum(1.0, _same, _same), lambda gold, m: -gold - jnp.log(m + 1))
bpr_max = LogSums("bpr_max", [LogSum(1.0, _same), LogSum(-1.0, _beaten)])
top1 = Additive(
    "top1",
    None,
    lambda gold, negative, m: (jax.nn.sigmoid(negative - gold) + jax.nn.sigmoid(negative**2)) / m,
)
mean_bpr = Additive(
    "mean_bpr", None, lambda gold, negative, m: jax.nn.softplus(negative - gold) / m
)
poisson_transform = Additive("poisson_transform", _negated, jnp.exp, ("none", "log_mq"))


def tempered_decoupled(temperature: float) -> LogSums:
    """The log-sum at a temperature of its own; 1 is `decoupled`."""
    tau = float(temperature)
    term = LogSum(tau, lambda negative: negative / tau)
    return LogSums(f"tempered_decoupled(temperature={tau:g})", term, _negated)


def shifted_nce(log_z: float) -> Additive:
    """NCE with a constant in place of a normalised model; log_z = 0 is `nb.binary_nce`."""
    shift = float(log_z)
    return Additive(
        f"shifted_nce(log_z={shift:g})",
        lambda gold: jax.nn.softplus(shift - gold),
        lambda negative: jax.nn.softplus(negative - shift),
        ("log_mq", "log_mq"),
    )


def log_bound(log_a: float) -> Additive:
    """The tangent of log at 1 / a above log Z."""
    log_a = float(log_a)
    return Additive(
        f"log_bound(log_a={log_a:g})",
        lambda gold: jnp.exp(log_a + gold) - gold - log_a - 1,
        lambda negative, log_count: jnp.exp(log_a + negative - log_count),
    )


def u_max(u: float) -> Additive:
    """The same with u in place of log Z - s_g, which is where it is least."""
    u = float(u)
    return Additive(
        f"u_max(u={u:g})",
        lambda gold: u + jnp.exp(-u) + 0 * gold,
        lambda gold, negative, log_count: jnp.exp(negative - gold - u - log_count),
    )


def tuba(baseline: float) -> Additive:
    """A tangent above the log of the mean; baseline 1 is `nb.nwj`."""
    a = float(baseline)
    return Additive(
        f"tuba(baseline={a:g})",
        lambda gold: a - 1 - gold,
        lambda negative, m: jnp.exp(negative - a) / m,
    )


def rpc(alpha: float, beta: float, gamma: float) -> Additive:
    """Relative predictive coding; alpha = beta = 0, gamma = 1 is half of `nb.spectral`."""
    a, b, c = float(alpha), float(beta), float(gamma)
    return Additive(
        f"rpc(alpha={a:g}, beta={b:g}, gamma={c:g})",
        lambda gold: b / 2 * gold**2 - gold,
        lambda negative, m: (a * negative + c / 2 * negative**2) / m,
    )


def gbce_of_public_code(t: float) -> Additive:
    """gBCE with one label less in alpha."""
    t = float(t)

    def of_gold(gold, m, labels):
        alpha = m / (labels - 2)
        return alpha * (t * (1 - 1 / alpha) + 1 / alpha) * jax.nn.softplus(-gold)

    name = f"gbce_of_public_code(t={t:g})"
    return Additive(name, of_gold, lambda negative: jax.nn.softplus(negative))


def memory_pairs(margin: float) -> Additive:
    """The contrastive loss on cosines, one gold."""
    least = float(margin)
    return Additive(
        f"memory_pairs(margin={least:g})",
        lambda gold: 1 - gold,
        lambda negative: jax.nn.relu(negative - least),
    )


def alpha_cl(temperature: float) -> Additive:
    """Differences of cosines, weighted by how near a negative is."""
    tau = float(temperature)

    def weighted(gold, negative):
        return jax.lax.stop_gradient(jnp.exp((negative - 1) / tau)) * (negative - gold)

    return Additive(f"alpha_cl(temperature={tau:g})", None, weighted)


def softmax_weighted_bpr(temperature: float) -> LogSums:
    """Pairs, weighted by importance among the negatives."""
    tau = float(temperature)
    term = WeightedMean(
        1.0,
        lambda gold, negative: jax.nn.softplus(negative - gold),
        lambda negative, log_count: negative / tau - log_count,
    )
    return LogSums(f"softmax_weighted_bpr(temperature={tau:g})", term)


def multi_similarity(alpha: float, beta: float, centre: float) -> LogSums:
    """Softplus of a gold, and that of all negatives at once: 1 stands in their sum."""
    a, b, c = float(alpha), float(beta), float(centre)
    term = LogSum(1 / b, lambda negative: b * (negative - c), lambda gold: 0 * gold)
    name = f"multi_similarity(alpha={a:g}, beta={b:g}, centre={c:g})"
    return LogSums(name, term, lambda gold: jax.nn.softplus(-a * (gold - c)) / a)
