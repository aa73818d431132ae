"""A label space from the user's own examples, by counting them."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from nce_bias._checks import check_count, refuse
from nce_bias._gate import remark
from nce_bias.data.from_counts import labelled
from nce_bias.data.label_space import LabelSpace


def from_arrays(
    inputs: Any,
    targets: Any,
    names: Iterable[object] | None = None,
    labels: int | None = None,
    *,
    source: str = "examples given by the user",
    licence: str = "not stated",
) -> LabelSpace:
    """Label space of N examples (x_i, y_i): their empirical joint distribution, counted.

    n(x, y) = #{i : x_i = x, y_i = y}.  Inputs are numbered in the order of their first appearance,
    labels keep their numbers.  The table is dense: 8 X V bytes, and as much again for `population`
    once it is asked for.

    An input seen once has a one-hot row: then "given x" is "given this observed label", and the
    population has no noise left for a model to average over.  Exact answers are about the data as
    they are, not about the process that made them.

    Parameters
    ----------
    inputs : N hashable values, or array [N] or [N, c]
        Strings, tuples, integers; a row of a two-dimensional array is one input, as a tuple.
        Floats are refused.
    targets : integer array [N]
        Label of each example, from 0 to V - 1.
    names : V labels, optional
        As in `from_counts`.
    labels : int, optional
        V.  Default: the number of names, and without names the largest target + 1.
    source, licence
        For the card.

    Raises
    ------
    ValueError
        For no examples, lengths that differ, targets that are not integers from 0 to V - 1, inputs
        that are floats or not hashable, and whatever `from_counts` refuses.  The message says what
        was given, what was expected and what to do.

    Warns
    -----
    UnusualInput
        Targets that run from 1, of labels whose number is not given.

    Examples
    --------
    >>> space = nb.data.from_arrays(["sun", "rain", "sun", "sun"], [1, 0, 0, 1])
    >>> space.inputs, space.counts.tolist()
    (('sun', 'rain'), [[1.0, 2.0], [1.0, 0.0]])

    Examples given as windows of ids, such as those of `next_word`:

    >>> data = nb.data.next_word(50, context=1)
    >>> space = nb.data.from_arrays(data.inputs, data.targets, data.words)
    >>> space.counts.shape == (len(space.inputs), 50)
    True
    >>> bool(np.allclose(space.popularity, data.popularity))
    True
    """
    golds = _integers(targets)
    rows = _hashables(inputs)
    if len(rows) != len(golds):
        raise refuse(
            "targets",
            f"got {len(golds)} for {len(rows)} inputs",
            "one target for each input",
            "Give both the same length N.",
        )
    called = None if names is None else tuple(names)
    if labels is None and called is None and golds.min() == 1:
        remark(
            f"targets: they run from 1 to {golds.max()}, and labels are numbered from 0, so that "
            "label 0 is never seen. Pass targets - 1 where numbers begin with 1, or labels= where "
            "label 0 is meant."
        )
    if labels is None:
        labels = int(golds.max()) + 1 if called is None else len(called)
    labels = check_count("labels", labels, least=2)
    _check_range(golds, labels)
    ids: dict[Hashable, int] = {}
    places = np.fromiter((ids.setdefault(row, len(ids)) for row in rows), np.int64, len(rows))
    counts = np.zeros((len(ids), labels))
    np.add.at(counts, (places, golds), 1.0)
    return labelled(counts, called, ids, source, licence)


def _integers(targets: Any) -> Int[np.ndarray, "N"]:
    try:
        array = np.asarray(targets)
    except (TypeError, ValueError) as error:
        raise _not_targets(f"got {type(targets).__name__}, which is not rectangular") from error
    if array.ndim != 1 or array.size == 0:
        raise _not_targets(f"got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise _not_targets(f"got dtype {array.dtype}")
    return array.astype(np.int64)


def _not_targets(given: str) -> ValueError:
    return refuse(
        "targets",
        given,
        "integers [N] with N >= 1",
        "Give the number of each example's label, counted from 0.",
    )


def _check_range(golds: Int[np.ndarray, "N"], labels: int) -> None:
    wrong = np.flatnonzero((golds < 0) | (golds >= labels))
    if wrong.size:
        raise refuse(
            "targets",
            f"example {int(wrong[0])} has {int(golds[wrong[0]])}",
            f"labels from 0 to {labels - 1}",
            "Number the labels from 0, give a name for each, or leave out examples without one.",
        )


def _hashables(inputs: Any) -> Sequence[Hashable]:
    """Each input as a value that can be looked up."""
    rows = _rows(inputs)
    for index, row in enumerate(rows):
        try:
            hash(row)
        except TypeError as error:
            raise _not_inputs(f"input {index} is a {type(row).__name__}") from error
        if isinstance(row, float | np.floating):
            raise _not_inputs(f"input {index} is the float {row}")
    return rows


def _rows(inputs: Any) -> list[Any]:
    if hasattr(inputs, "__array__"):
        array = np.asarray(inputs)
        if array.dtype.kind in "fc" or array.ndim not in (1, 2):
            raise _not_inputs(f"got an array of dtype {array.dtype} and shape {array.shape}")
        return array.tolist() if array.ndim == 1 else list(map(tuple, array.tolist()))
    try:
        return list(inputs)
    except TypeError as error:
        raise _not_inputs(f"got {type(inputs).__name__}") from error


def _not_inputs(given: str) -> ValueError:
    return refuse(
        "inputs",
        given,
        "N hashable values, or an integer array [N] or [N, c]",
        "Make a tuple of each row; round or bin real numbers, whose equality means little.",
    )
