r"""Honest Monte Carlo: sampled moments with standard errors, and a bias norm without a noise floor.

**Target.** eps(.|x) = p(.|x) - gamma(.|x) with gamma = E[v], v_y = sum_k pi(k) 1{y_k = y}.

**Estimator.** Each input gets R candidate sets (gold ~ pop(.|x), negatives from the sampler), in B
batches; e_b = p - mean of v over batch b. The plain estimate ||mean_b e_b||^2 overestimates
||eps||^2 by tr Cov(v) / R, so a curve of it flattens at a floor that is noise alone. The
U-statistic

    ||eps||^2  ~  1/(B (B - 1)) sum_{b != c} <e_b, e_c>

is unbiased for every B >= 2 and every R. It may be negative: `bias_norm` is then reported negative
(the signed square root), and clipped only when drawn. `bias_norm_plugin` is the plain estimate.

**Variance.** Candidate sets come in pairs that share their gold: <v - e, v' - e> within a pair is
unbiased for the gold's part of the second moment, which no single set can tell.

**Gradient.** Of any loss, by differentiating its value on a candidate set: v_y is the derivative by
all copies of y, plus 1 at the gold.

**Standard errors** are the jackknife's over the batches; that of `bias_norm` is the upper
half-width sqrt(U + se(U)) - sqrt(U), which stays finite where the bias is 0. Test hypotheses on
`bias_norm_squared`, whose error is symmetric. `cosine` and `effective_sample_size` are plug-ins
with a bias of order 1/R.

Source: U-statistics, Hoeffding (1948); jackknife, Efron & Stein (1981).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from nce_bias._checks import check_count, concretely
from nce_bias.engine.moments import Moments, Rows, assemble, weighted_inner
from nce_bias.losses import CandidateSoftmax, Loss, check_loss, infonce
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: Batches of the jackknife: a standard error from B batches is itself known to 1/sqrt(2 (B - 1)).
BATCHES = 64
#: Elements of one block of draws.
BLOCK = 2**18


def monte_carlo(
    problem: Problem,
    sampler: Sampler,
    loss: Loss = infonce,
    *,
    key: PRNGKeyArray,
    draws: int,
) -> Moments:
    """Estimate the moments of a contrastive gradient from sampled candidate sets.

    Parameters
    ----------
    problem, sampler, loss
        As for `exact`; every sampler that can draw works here, and every `Loss`.
    key : PRNG key
        ``jax.random.key(seed)``. The same key gives the same result.
    draws : int
        Candidate sets per input, at least 2; rounded up to whole batches (see `method`).

    Returns
    -------
    Moments
        With `standard_errors`; `error` is the largest standard error of `selection`.

    Raises
    ------
    ValueError
        As for `exact`, and for draws < 2.

    Examples
    --------
    >>> import jax
    >>> problem = Problem([1.0, 0.0, -1.0], [0.7, 0.2, 0.1])
    >>> found = monte_carlo(problem, iid(uniform(), 2), key=jax.random.key(0), draws=10_000)
    >>> truth = exact(problem, iid(uniform(), 2))
    >>> bool(abs(found.loss - truth.loss) < 5 * found.standard_errors["loss"])
    True
    """
    check_loss(loss)
    check_count("draws", draws, least=2)
    with concretely(problem, sampler, loss):
        sampler.check(problem)
        loss.check(problem, sampler)
    means = batch_means(problem, sampler, loss, key, draws)
    average = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), means)
    spread = jnp.std(means.selection, axis=0, ddof=1).max(axis=-1)
    rows = Rows(
        loss=average.loss,
        gradient=average.selection - problem.population_rows,
        second=average.second,
        squared_means=average.twins,
        coverage=average.coverage,
        concentration=average.concentration,
        error=spread / math.sqrt(means.loss.shape[0]),
    )
    result = assemble(
        problem,
        rows,
        sampler=sampler,
        loss=loss,
        method=f"monte carlo, {_sets(problem, sampler, draws)} draws per input",
        sampled=True,
    )
    return eqx.tree_at(
        lambda r: (*(getattr(r, name) for name in _CORRECTED), r.standard_errors),
        result,
        _corrected(problem, means),
    )


#: Fields in which a square is replaced by its unbiased estimate.
_CORRECTED = ("bias_norm_squared", "bias_norm", "variance", "variance_gold")


@eqx.filter_jit
def _corrected(problem: Problem, means: Means):
    """Unbiased values of the `_CORRECTED` fields and the standard errors of all scalars."""
    weights, population = problem.weights, problem.population_rows
    exact_gradient = jnp.exp(jnp.atleast_2d(problem.log_model)) - population
    gradients = means.selection - population
    count = len(gradients)

    def inner(a, b):
        return jax.vmap(weighted_inner, (None, 0, None))(weights, a, b)

    def square(rows):
        """The U-statistic of a squared norm, and its value without each batch."""
        itself = jax.vmap(lambda a: weighted_inner(weights, a, a))(rows)
        return unbiased_square(inner(rows, rows.sum(0)), itself)

    def without(each):
        """The mean over inputs and batches without each batch."""
        each = each @ weights
        return (jnp.sum(each) - each) / (count - 1)

    def plain(batch):
        gradient = (gradients.sum(0) - gradients[batch]) / (count - 1)
        bias = exact_gradient - gradient
        sizes = [weighted_inner(weights, a, a) for a in (gradient, exact_gradient)]
        cosine = weighted_inner(weights, gradient, exact_gradient) / jnp.sqrt(sizes[0] * sizes[1])
        return cosine, jnp.sqrt(weighted_inner(weights, bias, bias))

    bias_square, bias_without = square(exact_gradient - gradients)
    size, size_without = square(gradients)
    second, twins = (jnp.mean(each, axis=0) @ weights for each in (means.second, means.twins))
    cosine, plugin = jax.lax.map(plain, jnp.arange(count))
    spread = jackknife(bias_without)
    root = jnp.sqrt(jnp.abs(bias_square))
    errors = {
        "loss": jackknife(without(means.loss)),
        "bias_norm": jnp.sqrt(jnp.abs(bias_square) + spread) - root,
        "bias_norm_squared": spread,
        "bias_norm_plugin": jackknife(plugin),
        "cosine": jackknife(cosine),
        "variance": jackknife(without(means.second) - size_without),
        "variance_negatives": jackknife(without(means.second) - without(means.twins)),
        "variance_gold": jackknife(without(means.twins) - size_without),
        "coverage": jackknife(without(means.coverage)),
        "effective_sample_size": jackknife(1 / without(means.concentration)),
    }
    return bias_square, jnp.sign(bias_square) * root, second - size, twins - size, errors


def unbiased_square(
    with_total: Float[Array, " B"], with_itself: Float[Array, " B"]
) -> tuple[Float[Array, ""], Float[Array, " B"]]:
    """The U-statistic of a squared norm, and its value with each batch left out.

    From the inner products of each batch e_b with the total sum_c e_c and with itself: all pairs
    b != c are sum_b <e_b, total> - <e_b, e_b>, and leaving out b takes off twice its own. With two
    batches nothing is left to leave out: NaN.
    """
    count = with_total.shape[0]
    pairs = with_total - with_itself
    left_out = jnp.sum(pairs) - 2 * pairs
    return (
        jnp.sum(pairs) / (count * (count - 1)),
        left_out / ((count - 1) * (count - 2)) if count > 2 else jnp.full_like(pairs, jnp.nan),
    )


def jackknife(without: Float[Array, " B"]) -> Float[Array, ""]:
    """Standard error from the B values of a statistic with one batch left out."""
    count = without.shape[0]
    return jnp.sqrt((count - 1) * jnp.mean((without - jnp.mean(without)) ** 2))


class Means(eqx.Module):
    """Means over batches of candidate sets.

    `second` is ||v - e_gold||^2; `twins` is <v - e_gold, v' - e_gold> for two sets of negatives of
    one gold, whose expectation is E_gold ||E[v | gold] - e_gold||^2; `measured` is the mean of
    what a caller measures on v - e_gold `[V]`.
    """

    selection: Float[Array, "*B_X V"]
    loss: Float[Array, "*B_X"]
    second: Float[Array, "*B_X"]
    twins: Float[Array, "*B_X"]
    coverage: Float[Array, "*B_X"]
    concentration: Float[Array, "*B_X"]
    measured: Float[Array, "*B_X"]


def _layout(problem: Problem, sampler: Sampler, draws: int) -> tuple[int, int, int]:
    """Batches, blocks per batch, and pairs of candidate sets per block."""
    pairs = math.ceil(draws / 2)
    batches = min(BATCHES, max(2, pairs))
    each = math.ceil(pairs / batches)
    pairs_of_slots = min((sampler.slots(problem.labels) + 1) ** 2, 8 * problem.labels)
    block = max(1, min(each, BLOCK // (2 * (problem.labels + pairs_of_slots))))
    return batches, math.ceil(each / block), block


def _sets(problem: Problem, sampler: Sampler, draws: int) -> int:
    return 2 * math.prod(_layout(problem, sampler, draws))


@eqx.filter_jit
def batch_means(
    problem: Problem,
    sampler: Sampler,
    loss: Loss,
    key: PRNGKeyArray,
    draws: int,
    measure: Callable[[PyTree, Float[Array, " V"]], Float[Array, ""]] | None = None,
    inputs: PyTree = None,
) -> Means:
    """Means over each batch for each input. Candidate sets come in pairs that share their gold.

    `measure` takes an input, a row of `inputs`, and v - e_gold.
    """
    batches, blocks, block = _layout(problem, sampler, draws)

    softmax = isinstance(loss, CandidateSoftmax)
    # v, on the slots of the candidates or, if those are many, on all labels
    sparse = (sampler.slots(problem.labels) + 1) ** 2 <= 8 * problem.labels
    inner = _sparse_inner if sparse else _dense_inner

    def row(entry):
        scores, population, key, x = entry
        law = sampler.law(scores, problem.popularity)
        corrected = loss.corrected(scores, law, sampler.m)
        cdf, model = jnp.cumsum(population), jax.nn.softmax(scores)

        def pair(key):
            pick, *keys = jax.random.split(key, 3)
            at = jax.random.uniform(pick, dtype=cdf.dtype) * cdf[-1]
            gold = jnp.searchsorted(cdf, at, side="right")

            def candidate_set(key):
                labels, present = law.draw(key, gold)
                value, slopes = jax.value_and_grad(loss.value, (0, 1))(
                    corrected.gold[gold], corrected.negatives_of(gold)[labels], present
                )
                picked = jnp.concatenate([slopes[0][None] + 1, jnp.where(present, slopes[1], 0.0)])
                labels = jnp.concatenate([gold[None], labels])
                present = jnp.concatenate([jnp.ones(1, bool), present])
                covered = _covered(labels, present, model, sparse)
                return labels, picked, value, covered

            labels, picked, losses, covered = jax.vmap(candidate_set)(jnp.stack(keys))  # [2, K]
            on_gold = jnp.sum(jnp.where(labels == gold, picked, 0.0), axis=-1)
            same = [inner(labels[i], picked[i], labels[i], picked[i], model) for i in range(2)]
            crossed = inner(labels[0], picked[0], labels[1], picked[1], model)
            second = (same[0] + same[1]) / 2 - jnp.sum(on_gold) + 1
            each = jnp.sum(picked**2) / 2 if softmax else jnp.asarray(jnp.nan, cdf.dtype)
            scalars = jnp.mean(losses), second, crossed - jnp.sum(on_gold) + 1
            found = jnp.zeros((), cdf.dtype)
            if measure is not None:
                noise = jnp.zeros_like(scores).at[labels[0]].add(picked[0]).at[gold].add(-1)
                found = measure(x, noise)
            return labels, picked, (*scalars, jnp.mean(covered), each, found)

        def add(total, key):
            labels, picked, scalars = jax.vmap(pair)(jax.random.split(key, block))
            selection = total.selection.at[labels].add(picked / 2)
            _, *before = jax.tree.leaves(total)
            added = (a + jnp.sum(b) for a, b in zip(before, scalars, strict=True))
            return Means(selection, *added), None

        def batch(key):
            start = Means(jnp.zeros_like(scores), *[jnp.zeros((), scores.dtype)] * 6)
            sums, _ = jax.lax.scan(add, start, jax.random.split(key, blocks))
            return jax.tree.map(lambda leaf: leaf / (blocks * block), sums)

        return jax.lax.map(batch, jax.random.split(key, batches))

    keys = jax.random.split(key, problem.score_rows.shape[0])
    rows = jax.lax.map(row, (problem.score_rows, problem.population_rows, keys, inputs))
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), rows)


def _sparse_inner(labels, picked, other_labels, other_picked, model):
    """<v, v'> of two vectors given by labels and values, labels possibly repeated."""
    same = labels[:, None] == other_labels
    return jnp.sum(jnp.where(same, picked[:, None] * other_picked, 0.0))


def _dense_inner(labels, picked, other_labels, other_picked, model):
    """The same for many slots."""
    zero = jnp.zeros_like(model)
    return zero.at[labels].add(picked) @ zero.at[other_labels].add(other_picked)


def _covered(labels, present, model, sparse: bool):
    """Model mass on the labels of the present slots, each counted once."""
    if not sparse:
        return model @ jnp.zeros_like(model).at[labels].max(present.astype(model.dtype))
    before = jnp.tril(labels[:, None] == labels, -1) & present
    return jnp.sum(jnp.where(present & ~jnp.any(before, axis=-1), model[labels], 0.0))
