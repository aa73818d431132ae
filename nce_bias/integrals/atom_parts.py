"""What an integral on atoms is put together from: labels taken alone, nodes, golds on the grid."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from nce_bias.numerics.arrays import Array, namespace


class Taken(NamedTuple):
    """What is taken one by one: labels `[G]` with their numbers; `meant` says which count."""

    which: Int[Array, " G"]
    meant: Bool[Array, " G"]
    share: Float[Array, " G"]
    q: Float[Array, " G"]
    log_gold: Float[Array, " G"]
    log_negative: Float[Array, " G"]


class OfCrowd(NamedTuple):
    """What golds on the grid add to the moments; `draws` and `pairs` `[N]` at the nodes.

    `by_gold` has what a label gets as the gold, less what `draws` counts it too often.
    """

    loss: Float[Array, ""]
    own: Float[Array, ""]
    squared: Float[Array, ""]
    paired: Float[Array, ""]
    draws: Float[Array, " N"]
    pairs: Float[Array, " N"]
    by_gold: Float[Array, " V"]

    @classmethod
    def none(cls, like: Float[Array, " V"], nodes: int) -> OfCrowd:
        """No gold is."""
        xp = namespace(like)
        zero, zeros = xp.zeros((), like.dtype), xp.zeros(nodes, like.dtype)
        return cls(zero, zero, zero, zero, zeros, zeros, xp.zeros_like(like))


class Nodes(NamedTuple):
    """At the nodes `[N]` of the rule: of atoms `[N, a]`, of golds `[N, G]`.

    `tilted` is weight e^{-z_+} F, `draws` m / phi_g over what is left of q: the two factors of
    every moment; `f` is e^{-z}, `gone` 1 - e^{-z}, `missed` 1 - phi with all labels.
    """

    z: Float[Array, "N a"]
    f: Float[Array, "N a"]
    gone: Float[Array, "N a"]
    missed: Float[Array, " N"]
    z_gold: Float[Array, "N G"]
    z_own: Float[Array, "N G"]
    weight: Float[Array, "N G"]
    log_f: Float[Array, "N G"]
    log_t: Float[Array, " N"]
    tilted: Float[Array, "N G"]
    draws: Float[Array, "N G"]
