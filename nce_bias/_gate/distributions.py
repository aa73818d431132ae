r"""Rows of probabilities, renormalised where they miss 1 by no more than their source allows.

A softmax taken in float32 misses 1 by some 1e-7, six printed decimals of 100 labels by up to 5e-5,
and neither is cured by keeping the numbers in float64 afterwards. So the *values* are asked what
they can be, not the container: numbers that are all float32 numbers came from float32, numbers that
are all whole multiples of 1e-6 were printed with six decimals.

================================  ==================================================================
values that are all               may miss 1 by
================================  ==================================================================
float64 and nothing coarser       sqrt(eps) of float64, 1.5e-8: a sum over many labels
float32                           sqrt(eps) of float32, 3.5e-4
float16, bfloat16                 two roundings: eps, 1e-3 and 8e-3
printed with d decimals           V / 2 units of the last place, at most 5e-3
printed with s digits             5 units of the last digit, at most 5e-3
================================  ==================================================================

Nothing else passes: a forgotten normalisation or a lost label leaves more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from nce_bias._checks import is_traced, refuse

#: No number of printed digits excuses more.
PRINTED = 5e-3
#: Nor any precision.
MOST = 8e-3
#: Rounding errors of the working precision that are left as they are.
ROUNDING = 16
#: Values looked at before all of them are.
SAMPLE = 4096


class Normalised(NamedTuple):
    """Rows that sum to 1 within rounding, and by how much the worst of them did not."""

    rows: Any
    missed: float


def normalised(argument: str, rows: Any, instead: str = "") -> Normalised:
    """Probabilities: finite, not negative, each row summing to 1 as well as its source could.

    `instead` is what to do about a row of zeros. Raises ValueError that names row and label.
    """
    if is_traced(rows):
        return Normalised(rows, 0.0)
    rows = np.asarray(rows)
    with np.errstate(all="ignore"):
        _check_entries(argument, rows)
        totals = np.asarray(rows.sum(axis=-1, dtype=np.float64))
        missed = np.asarray(np.abs(totals - 1))
        worst = float(missed.max(initial=0.0))
        working = np.dtype(jnp.result_type(float))
        left = ROUNDING * float(np.finfo(working).eps)
        if worst <= left:
            return Normalised(rows, 0.0)
        if worst > np.sqrt(np.finfo(np.float64).eps):
            _check_totals(argument, rows, totals, instead)
        divisors = np.where(missed > left, totals, 1.0)[..., None]
        return Normalised(np.divide(rows, divisors, dtype=working, casting="same_kind"), worst)


def allowed_miss(values: np.ndarray) -> float:
    """How much rows of these values may miss 1; see the module."""
    flat = values.ravel()
    exact_in = [kind for kind in (np.float32, np.float16, jnp.bfloat16) if _fits(flat, kind)]
    eps = float(np.finfo(np.float32 if exact_in else np.float64).eps)
    sizes = [float(jnp.finfo(kind).eps) for kind in exact_in[1:]]
    return max(np.sqrt(eps), *sizes, _printed(flat, values.shape[-1], eps))


def _fits(values: np.ndarray, kind: type) -> bool:
    """Whether all values are numbers of that type."""
    return all(
        bool(np.all(part.astype(kind).astype(part.dtype) == part))
        for part in (values[:SAMPLE], values)
    )


def _printed(values: np.ndarray, labels: int, eps: float) -> float:
    """What the coarsest printing that gives these values allows; 0 where they were not printed.

    So many digits that any number of that precision would do are no evidence.
    """
    values = values.astype(np.float64)
    most = int(-np.log10(eps)) - 3
    allowed = 0.0
    for digits in range(1, most + 1):
        unit = 10.0**-digits
        if _whole(values, 1 / unit, eps):
            allowed = max(allowed, labels * unit / 2)
            break
    magnitude = np.floor(np.log10(np.where(values > 0, values, 1.0)))
    for digits in range(1, most + 1):
        if _whole(values, 10.0 ** (digits - 1 - magnitude), eps):
            allowed = max(allowed, 5 * 10.0**-digits)
            break
    return min(allowed, PRINTED)


def _whole(values: np.ndarray, scale: np.ndarray | float, eps: float) -> bool:
    for part in (slice(SAMPLE), slice(None)):
        scaled = values[part] * (scale[part] if isinstance(scale, np.ndarray) else scale)
        if not np.all(np.abs(scaled - np.rint(scaled)) <= 4 * eps * scaled):
            return False
    return True


def _check_entries(argument: str, rows: np.ndarray) -> None:
    for wrong, name, expected, remedy in (
        (~np.isfinite(rows), "", "finite probabilities", "Remove or repair the offending row."),
        (
            rows < 0,
            "the negative entry ",
            "probabilities >= 0",
            "Pass probabilities, not log-probabilities or scores.",
        ),
    ):
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise refuse(
                argument,
                f"{_where(place)} has {name}{rows[place]:g} at label {place[-1]}",
                expected,
                remedy,
            )


def _check_totals(argument: str, rows: np.ndarray, totals: np.ndarray, instead: str) -> None:
    missed = np.asarray(np.abs(totals - 1))
    limit = allowed_miss(rows) if float(missed.max()) <= MOST else 0.0
    limit = max(limit, float(np.sqrt(np.finfo(rows.dtype).eps)))
    offenders = np.argwhere(missed > limit)
    if not len(offenders):
        return
    place = tuple(int(i) for i in offenders[0])
    total = float(totals[place])
    if total == 0:
        raise refuse(argument, f"{_where((*place, 0))} is all zeros", "a sum of 1", instead)
    raise refuse(
        argument,
        f"{_where((*place, 0))} sums to {total:.9g}",
        "a sum of 1",
        f"Normalise it: {argument} / {argument}.sum(-1, keepdims=True).",
    )


def _where(place: tuple[int, ...]) -> str:
    """The row of an entry, where there are rows."""
    return f"row {place[0]}" if len(place) > 1 else "it"
