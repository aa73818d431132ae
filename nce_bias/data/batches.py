"""Batches of examples from arrays, for `nce_bias.train.fit`."""

from collections.abc import Iterator, Sequence

import numpy as np


def minibatches(
    arrays: Sequence[np.ndarray], size: int, *, seed: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Endless batches, each epoch in a new order; a remainder smaller than `size` is left out.

    Parameters
    ----------
    arrays
        Arrays of one common length N, indexed together.
    size
        Examples per batch, 1 ≤ size ≤ N.
    seed
        Seed of the NumPy generator that shuffles; the same seed gives the same batches.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = next(minibatches([np.arange(6), np.arange(6) ** 2], 3, seed=0))
    >>> bool((y == x**2).all()), x.shape
    (True, (3,))
    """
    lengths = {len(a) for a in arrays}
    if len(lengths) != 1:
        raise ValueError(
            f"arrays have lengths {[len(a) for a in arrays]}, expected one or more arrays of one "
            "common length; give each example one row in every array"
        )
    total = lengths.pop()
    if not 1 <= size <= total:
        raise ValueError(f"size is {size}, expected 1 to {total}, the number of examples")
    return _shuffled(arrays, size, total, np.random.default_rng(seed))


def _shuffled(
    arrays: Sequence[np.ndarray], size: int, total: int, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, ...]]:
    while True:
        order = generator.permutation(total)
        for start in range(0, total - size + 1, size):
            rows = order[start : start + size]
            yield tuple(a[rows] for a in arrays)
