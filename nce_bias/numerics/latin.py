r"""Latin hypercubes: N points whose every column is spread evenly over [0, 1).

Column j of point i is (pi_j(i) + U_ij) / N, with pi_j an independent uniform permutation of
0, ..., N - 1 and U_ij uniform. Each point alone is uniform on the cube, so a mean of any function
over the points is unbiased; of each column every interval [k / N, (k + 1) / N) holds one point, so
what is a sum of functions of one column each has next to no variance left. For N points the
variance of a mean is at most N / (N - 1) times that of independent points.

Points are *not* independent: a standard error comes from several hypercubes.

Source: McKay, Beckman & Conover (1979), Technometrics 21; the bound: Owen (1997), Annals of
Statistics 25.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from nce_bias.numerics import two_floats as two


def hypercube(
    key: PRNGKeyArray, points: int, columns: int, dtype: jnp.dtype
) -> Float[Array, "points columns"] | two.Pair:
    """One hypercube `[points, columns]`; in float32 as pairs of numbers (`numerics.two_floats`).

    Examples
    --------
    >>> import jax, numpy as np
    >>> levels = hypercube(jax.random.key(0), 4, 3, np.dtype("float32"))[0]
    >>> np.sort(np.floor(4 * levels), axis=0).astype(int).tolist()
    [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]]
    """
    by_place, within = jax.random.split(key)
    keys = jax.random.split(by_place, columns)
    places = jax.vmap(lambda key: jax.random.permutation(key, points), out_axes=1)(keys)
    shape = places.shape
    if dtype != jnp.float32:
        return (places + jax.random.uniform(within, shape, dtype)) / points
    high, low = two.uniform(within, points * columns)
    parts = two.add(two.pair(places.astype(dtype)), (high.reshape(shape), low.reshape(shape)))
    share = np.float32(1 / points)
    rest = np.float32(1 / points - float(share))
    return two.multiply(parts, (jnp.asarray(share), jnp.asarray(rest)))
