"""What the numbers of an audit mean, in sentences, each with the number it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nce_bias._audit.rows import Row

#: Standard errors that separate a number from another.
CLEAR = 2.0


@dataclass(frozen=True)
class Remark:
    """A sentence, the convention it is about, and the number and column it rests on."""

    text: str
    convention: str
    m: int
    column: str
    number: float

    def __str__(self) -> str:
        return self.text


def remarks(rows: Iterable[Row]) -> list[Remark]:
    """All that is worth saying, the most important first."""
    done = [row for row in rows if row.inputs and math.isfinite(row.numbers["relative_bias"])]
    if not done:
        return []
    done = sorted(done, key=lambda row: row.numbers["relative_bias"])
    found = [_least(done), *_wrong_way(done), *_own_setup(done), *_flat(done), *_noise(done)]
    return [*found, *_coverage(done)]


def called(row: Row) -> str:
    """A convention and its m."""
    return f"{row.name} (m = {row.m})"


def percent(number: float) -> str:
    """A share of one in per cent, two digits or whole."""
    return f"{100 * number:.0f} %" if abs(number) >= 0.1 else f"{100 * number:.2g} %"


def _least(done: list[Row]) -> Remark:
    best = done[0]
    value, spread = best.numbers["relative_bias"], best.errors["relative_bias"]
    known = f" ± {percent(spread)}" if math.isfinite(spread) else ""
    if abs(value) <= CLEAR * spread and not best.exact:
        size = "no measurable bias"
    elif value < 1e-4:
        size = "no bias"
    else:
        size = f"a bias of {percent(value)}{known} of the exact gradient"
    return Remark(
        f"Least biased here: {called(best)}, with {size}.",
        best.name,
        best.m,
        "relative_bias",
        value,
    )


def _wrong_way(done: list[Row]) -> Iterator[Remark]:
    """Gradients that point away from cross entropy, or elsewhere."""
    for name, row in _worst(done, lambda row: -row.numbers["cosine"]):
        value, spread = row.numbers["cosine"], row.errors["cosine"]
        margin = CLEAR * spread if math.isfinite(spread) else 0.0
        if value + margin < 0:
            says = "points away from the gradient of cross entropy"
        elif value + margin < 0.7:
            angle = math.degrees(math.acos(max(-1.0, min(1.0, value))))
            says = f"points {angle:.0f} degrees off the gradient of cross entropy"
        else:
            continue
        text = f"{called(row)} {says} (cosine {value:.2f})."
        yield Remark(text, name, row.m, "cosine", value)


def _own_setup(done: list[Row]) -> Iterator[Remark]:
    """A correction for draws of another kind than those that are made."""
    for name, row in _worst(done, lambda row: row.numbers["relative_bias"]):
        if row.preset is None or row.correction_fits:
            continue
        value = row.numbers["relative_bias"]
        text = (
            f"{called(row)}: the correction of {row.preset.loss.name} is for independent draws "
            f"from one proposal, which those of {row.preset.sampler!r} are not; "
            f"{percent(value)} of the exact gradient is bias. nb.with_inclusion(loss) corrects by "
            "the chances to be drawn."
        )
        yield Remark(text, name, row.m, "relative_bias", value)


def _flat(done: list[Row]) -> Iterator[Remark]:
    """Conventions whose bias more negatives do not cure."""
    for name in dict.fromkeys(row.name for row in done):
        own = sorted((row for row in done if row.name == name), key=lambda row: row.m)
        few, many = own[0], own[-1]
        assert few.preset is not None
        if few.m == many.m or not getattr(few.preset.loss, "normalized", False):
            continue  # a binary loss has a scale of its own
        before, after = few.numbers["relative_bias"], many.numbers["relative_bias"]
        spread = few.errors["relative_bias"]
        if after > 0.05 and after > 0.9 * before and math.isfinite(spread):
            yield Remark(
                f"{name}: more negatives do not help, {percent(before)} of the exact gradient is "
                f"bias with m = {few.m} and {percent(after)} with m = {many.m}.",
                name,
                many.m,
                "relative_bias",
                after,
            )


def _noise(done: list[Row]) -> Iterator[Remark]:
    """From which batch on the bias of the least biased is larger than its noise."""
    for row in done:
        bias, variance = row.numbers["bias_norm"], row.numbers["variance"]
        if bias > 0 and row.numbers["relative_bias"] > 1e-3 and math.isfinite(variance):
            batch = variance / bias**2
            if batch > 0:
                size = f"a batch of {math.ceil(batch):,}" if batch > 1 else "one example"
                yield Remark(
                    f"{called(row)}, the least of those with a bias: it exceeds the noise of "
                    f"{size}, if each example has negatives of its own.",
                    row.name,
                    row.m,
                    "variance",
                    batch,
                )
                return


def _coverage(done: list[Row]) -> Iterator[Remark]:
    least = min(done, key=lambda row: row.numbers["coverage"])
    value = least.numbers["coverage"]
    if value < 0.2:
        yield Remark(
            f"Under {called(least)} gold and negatives hold {percent(value)} of the model's mass "
            "on average: what the others hold is pushed down by nobody.",
            least.name,
            least.m,
            "coverage",
            value,
        )


def _worst(done: list[Row], by: Callable[[Row], float]) -> Iterator[tuple[str, Row]]:
    """One row of each convention: the one with the largest `by`."""
    for name in dict.fromkeys(row.name for row in done):
        yield name, max((row for row in done if row.name == name), key=by)
