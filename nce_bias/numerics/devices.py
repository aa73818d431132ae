r"""Labels split over devices: who holds which, and what is computed where they are.

With V labels on D devices each holds V / D of them, in the order of the devices. A formula over all
labels is then one of three things: elementwise, which stays where the labels are; a reduction (a
sum, a maximum, where it is, one entry), of which devices exchange a number each, and which XLA
splits by itself; or a pass in blocks over labels (`nce_bias.numerics.interpolation`). The last XLA
would do on all labels at every device, after sending them there (four arrays of V numbers for one
input, measured), so it is written out: `where_labels_are`. So it would where one entry is taken by
a number that is traced, and alone; entries by an array of numbers are looked for where they are.

**Sums.** A sum over D parts is rounded otherwise than one over all labels, by some eps: no more
than XLA's own sums differ from NumPy's.

Source: `jax.shard_map`, `jax.sharding`, as JAX documents them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nce_bias._checks import is_traced, refuse

T = TypeVar("T")
#: The axis of devices.
LABELS = "labels"
#: What users are told to make.
SPLIT = "NamedSharding(mesh, PartitionSpec(None, 'labels')) over a mesh of one axis"


def mesh_of(scores: Any) -> Mesh | None:
    """The devices that the last axis is split over, in the order of what they hold.

    None where one device, or each, holds all of it. Raises ValueError where another axis is split,
    or several devices hold one part.
    """
    if (
        is_traced(scores)
        or not isinstance(scores, jax.Array)
        or len(scores.sharding.device_set) < 2
    ):
        return None
    if scores.sharding.is_fully_replicated:
        return None
    places = scores.sharding.devices_indices_map(scores.shape)
    first = {device: _start(index[-1]) for device, index in places.items() if index is not None}
    whole = all(_whole(index[:-1], scores.shape) for index in places.values() if index is not None)
    if not whole or len(set(first.values())) < len(first):
        raise refuse(
            "scores",
            f"sharded as {scores.sharding}",
            "labels split over all devices, inputs whole on each",
            f"Shard scores by {SPLIT}.",
        )
    return mesh_over(sorted(first, key=first.__getitem__))


def mesh_over(devices: Sequence[Any]) -> Mesh:
    """A mesh of one axis, whose partitions XLA finds and `where_labels_are` writes out."""
    return Mesh(np.array(devices, dtype=object), (LABELS,))


def put_split(array: Any, mesh: Mesh) -> jax.Array:
    """An array with its last axis split over the devices, wherever it was.

    One that every process holds whole is not sent: each takes its part.
    """
    spec = PartitionSpec(*[None] * (array.ndim - 1), LABELS)
    return _put(array, NamedSharding(mesh, spec))


def put_as(array: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """An array split over the devices of a mesh in a way of one's own."""
    return _put(array, NamedSharding(mesh, spec))


def put_whole(array: Any, mesh: Mesh) -> jax.Array:
    """An array on every device."""
    return _put(array, NamedSharding(mesh, PartitionSpec()))


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(array, jax.Array) and len(array.sharding.device_set) > 1:
        return jax.device_put(array, sharding)
    held = np.asarray(array)
    return jax.make_array_from_callback(held.shape, sharding, lambda index: held[index])


def where_labels_are(
    function: Callable[..., Any], mesh: Mesh, whole: Any, split: Any, *, summed: bool
) -> Any:
    """`function(whole, split)` at each device, of its own labels: `split` holds arrays `[V]`.

    The results are summed over the devices, or are labels' numbers and stay split.
    """

    def part(whole: Any, split: Any) -> Any:
        found = function(whole, split)
        return jax.lax.psum(found, LABELS) if summed else found

    by_label = PartitionSpec(LABELS)
    mapped = jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(PartitionSpec(), by_label),
        out_specs=PartitionSpec() if summed else by_label,
        check_vma=False,  # what a loop carries is each device's own from its first step on
    )
    return mapped(whole, split)


def settled(tree: T) -> T:
    """The same, once every device has it.

    Devices that are threads of one process may run two programs at once, and where some wait for
    each other in the one, others in the other, no thread is left for either to go on: XLA ends the
    process after 40 seconds. Reading a number waits for one device only.
    """
    return jax.block_until_ready(tree)


def all_finite(array: Any) -> bool:
    """Whether all entries are, asked where they are."""
    if isinstance(array, jax.Array) and len(array.sharding.device_set) > 1:
        return bool(settled(_all_finite(array)))
    return bool(np.isfinite(np.asarray(array)).all())


@jax.jit
def _all_finite(array: Any) -> Any:
    return jnp.isfinite(array).all()


def _start(index: slice) -> int:
    return index.start or 0


def _whole(indices: Sequence[slice], shape: Sequence[int]) -> bool:
    return all(i.indices(n) == (0, n, 1) for i, n in zip(indices, shape, strict=False))
