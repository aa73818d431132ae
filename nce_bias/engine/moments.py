"""What an engine reports: the moments of a contrastive gradient, with how they were computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from nce_bias._checks import is_traced, refuse
from nce_bias.engine.by_input import ByInput, average, scalars
from nce_bias.losses import Loss
from nce_bias.numerics.arrays import Array, is_numpy, log_softmax, namespace, to_jax
from nce_bias.numerics.devices import all_finite
from nce_bias.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

#: The scalar fields, in the order tables show them.
SCALARS = (
    "loss",
    "cross_entropy",
    "bias_norm",
    "bias_norm_squared",
    "bias_norm_plugin",
    "cosine",
    "variance",
    "variance_negatives",
    "variance_gold",
    "coverage",
    "effective_sample_size",
    "error",
)


class Fields(eqx.Module):
    """What a result has of each input and label; see `Moments`."""

    selection: Float[Array, "*X V"]
    gradient: Float[Array, "*X V"]
    bias: Float[Array, "*X V"]


class Moments(eqx.Module):
    r"""Moments of a contrastive gradient in score space.

    Attributes
    ----------
    loss, cross_entropy : scalar
        E[contrastive loss] and the exact cross entropy, in nats.
    by_input : ByInput
        The same numbers of each input, `[X]`, of which the scalars are weighted means; `losses` is
        E[contrastive loss] among them.
    selection : [X, V]
        gamma(y|x): the chance that y is a candidate and is picked by the candidate softmax.
    gradient : [X, V]
        Expected contrastive gradient, gamma - pop.
    bias : [X, V]
        eps = exact - contrastive = (p - pop) - gradient = p - gamma.
    bias_norm : scalar
        sqrt(sum_x pop(x) ||eps(.|x)||^2). Monte Carlo: the signed root of the next.
    bias_norm_squared : scalar
        Its square. Monte Carlo: an unbiased estimate, which may be negative.
    bias_norm_plugin : scalar
        The norm of `bias` itself. Monte Carlo: the plain estimate, with noise in it.
    cosine : scalar
        Between the expected contrastive and the exact gradient, inputs weighted by pop(x); NaN
        where one of them is 0.
    variance : scalar
        Trace of the covariance of one example's score-space gradient v - e_gold, within an input,
        averaged over inputs by pop(x).
    variance_negatives, variance_gold : scalar
        Its two parts: E_gold[tr Cov(v | gold)] and tr Cov_gold(E[v | gold] - e_gold). NaN where an
        exact result does not split them (`method` says so).
    coverage : scalar
        Expected model mass on the set {gold} and negatives.
    effective_sample_size : scalar
        1 / E[sum_k pi(k)^2] over the candidates: how many of equal weight would be as concentrated
        as the corrected weights are. NaN for losses that are no softmax.
    error : scalar
        Exact: bound on the absolute error of `selection`. Monte Carlo: its largest standard error.
    standard_errors : mapping
        Monte Carlo only; empty for exact results.
    method, status : str
        How it was computed; "ok" or what is wrong and what to do.
    configuration : str
        Sampler and loss in words.

    Notes
    -----
    `[V]` problems give `[V]` fields. Where scores are made block by block, for many inputs and
    labels of `Problem.from_embeddings`, nothing of size X V is held: asking for `selection`,
    `gradient` or `bias` says so. `problem.take(inputs)` is the problem of some inputs.

    Source: Zhang & Stratos (2021), Theorem 3.1, for the bias and its sign.
    """

    loss: Float[Array, ""]
    by_input: ByInput
    cross_entropy: Float[Array, ""]
    fields: Fields | None
    bias_norm: Float[Array, ""]
    bias_norm_squared: Float[Array, ""]
    bias_norm_plugin: Float[Array, ""]
    cosine: Float[Array, ""]
    variance: Float[Array, ""]
    variance_negatives: Float[Array, ""]
    variance_gold: Float[Array, ""]
    coverage: Float[Array, ""]
    effective_sample_size: Float[Array, ""]
    error: Float[Array, ""]
    standard_errors: Mapping[str, Any]
    sampler: str = eqx.field(static=True)
    loss_name: str = eqx.field(static=True)
    method: str = eqx.field(static=True)
    status: str = eqx.field(static=True)

    @property
    def selection(self) -> Float[Array, "*X V"]:
        """gamma(y|x)."""
        return self._kept("selection")

    @property
    def gradient(self) -> Float[Array, "*X V"]:
        """gamma - pop."""
        return self._kept("gradient")

    @property
    def bias(self) -> Float[Array, "*X V"]:
        """p - gamma."""
        return self._kept("bias")

    def _kept(self, name: str) -> Float[Array, "*X V"]:
        if self.fields is None:
            raise refuse(
                name,
                "it was not kept for so many inputs and labels",
                "a result of fewer",
                "Compute it for some inputs, nb.exact(problem.take(inputs), ...), or use by_input.",
            )
        return getattr(self.fields, name)

    @property
    def losses(self) -> Float[Array, "*X"]:
        """E[contrastive loss] of each input; a scalar for `[V]` problems."""
        one = self.fields is not None and self.fields.bias.ndim == 1
        return self.by_input.loss[0] if one else self.by_input.loss

    def _cells(self) -> list[tuple[str, str, str]]:
        cells = []
        for name in SCALARS:
            if not self.standard_errors and name in ("bias_norm_squared", "bias_norm_plugin"):
                continue  # exact: nothing but repetitions of bias_norm
            value = getattr(self, name)
            spread = self.standard_errors.get(name)
            shown = "traced" if is_traced(value) else _shown(value, ".6g")
            cells.append((name, shown, "" if spread is None else f"± {_shown(spread, '.2g')}"))
        return cells

    def __repr__(self) -> str:
        lines = [f"Moments of {self.loss_name} with {self.sampler}"]
        lines += [
            f"  {name:<22}{value:>12} {spread}".rstrip() for name, value, spread in self._cells()
        ]
        if self.fields is None:
            lines.append("  selection, gradient, bias: not kept, see by_input")
        else:
            shape = ", ".join(map(str, self.selection.shape))
            lines.append(f"  selection, gradient, bias: [{shape}]")
        lines.append(f"  {self.method}; status: {self.status}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{value}</td><td>{spread}</td></tr>"
            for name, value, spread in self._cells()
        )
        return (
            f"<table><caption>{self.loss_name}, {self.sampler}</caption>{rows}</table>"
            f"<small>{self.method}; status: {self.status}</small>"
        )

    def to_frame(self) -> pd.DataFrame:
        """One pandas row: sampler, loss, the scalars, standard errors as `<name>_se`."""
        import pandas as pd

        row: dict[str, Any] = {"sampler": self.sampler, "loss_name": self.loss_name}
        row |= {name: float(getattr(self, name)) for name in SCALARS}
        row |= {f"{name}_se": float(value) for name, value in self.standard_errors.items()}
        row |= {"method": self.method, "status": self.status}
        return pd.DataFrame([row])


def _shown(value: Array, form: str) -> str:
    """A number; what `jax.vmap` made many of, by its shape."""
    return format(float(value), form) if value.ndim == 0 else f"{value.dtype}{list(value.shape)}"


def weighted_inner(
    weights: Float[Array, " X"], a: Float[Array, "X V"], b: Float[Array, "X V"]
) -> Float[Array, ""]:
    """sum_x pop(x) <a(x), b(x)>, the inner product in which norms and cosines are taken."""
    return namespace(weights, a, b).sum(weights[:, None] * a * b)


class Rows(eqx.Module):
    """What an engine finds for each input; everything reported follows from it.

    `second` is E||v - e_gold||^2, `squared_means` E_gold ||E[v | gold] - e_gold||^2 and
    `concentration` E[sum_k pi(k)^2].
    """

    loss: Float[Array, "*X"]
    gradient: Float[Array, "*X V"]
    second: Float[Array, "*X"]
    squared_means: Float[Array, "*X"]
    coverage: Float[Array, "*X"]
    concentration: Float[Array, "*X"]
    error: Float[Array, "*X"]


def assemble(
    problem: Problem,
    rows: Rows,
    *,
    sampler: object,
    loss: Loss,
    method: str,
    sampled: bool = False,
) -> Moments:
    """Everything that follows from the moments of each input.

    Exact rows of `selection` sum to 1 for a normalised loss, and `error` holds what they miss.
    """
    plain = is_numpy(problem.scores, rows.gradient)
    compute = _fields if plain else _compiled_fields
    sums_to_one = getattr(loss, "normalized", False) and not sampled
    fields = to_jax(compute(problem, rows, sums_to_one))
    return Moments(
        **fields,
        standard_errors={},
        sampler=repr(sampler),
        loss_name=loss.name,
        method=f"{method}, {problem.scores.dtype}{problem.note}",
        status=_status(fields["fields"].selection, fields["error"], exact=not sampled),
    )


def _fields(problem: Problem, rows: Rows, normalized: bool) -> dict[str, Any]:
    xp = namespace(problem.scores, rows.gradient)
    population, gradient = problem.population_rows, rows.gradient
    exact_gradient = xp.exp(log_softmax(problem.score_rows)) - population
    bias, selection = exact_gradient - gradient, gradient + population
    residual = xp.max(xp.abs(xp.sum(selection, axis=-1) - 1))
    squared = xp.sum(gradient**2, axis=-1)
    by_input = ByInput(
        loss=rows.loss,
        cross_entropy=problem.cross_entropies,
        bias_square=xp.sum(bias**2, axis=-1),
        gradient_square=squared,
        exact_square=xp.sum(exact_gradient**2, axis=-1),
        inner=xp.sum(gradient * exact_gradient, axis=-1),
        variance=rows.second - squared,
        variance_negatives=rows.second - rows.squared_means,
        variance_gold=rows.squared_means - squared,
        coverage=rows.coverage,
        concentration=rows.concentration,
    )
    found = scalars(average(by_input, problem.weights))
    shape = problem.scores.shape
    return {name: found[name] for name in SCALARS if name in found} | dict(
        by_input=by_input,
        fields=Fields(*(rows.reshape(shape) for rows in (selection, gradient, bias))),
        bias_norm_plugin=found["bias_norm"],
        error=xp.max(rows.error) + (residual if normalized else 0.0),
    )


_compiled_fields = eqx.filter_jit(_fields)


def _status(selection: Array, error: Array, *, exact: bool) -> str:
    if is_traced(selection, error):
        return "not checked under a JAX transformation"
    if not all_finite(selection):
        return "selection is not finite: check the scores and the proposal for NaN"
    if exact and np.isnan(float(error)):
        return "how well selection is known could not be computed: use float64, or smaller scores"
    if exact and float(error) > 1e-3:
        return (
            f"selection is known to {float(error):.1g} only: use float64, or fewer extreme scores"
        )
    return "ok"
