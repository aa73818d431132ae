"""Laws that say the same of every gold they are asked for: there is one, or hits are kept."""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Float, Int

from nce_bias.numerics.arrays import Array, namespace
from nce_bias.samplers.base import Copies, Law


class SameForAll(Law):
    """One that says the same of every gold it is asked for: there is one, or hits are kept."""

    @abstractmethod
    def at(self, exposures: Float[Array, "*N V"]) -> tuple[Array, Array]:
        """log F `[*N, 1]`, and the expected copies `[*N, V]` of the tilted negatives."""

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        log_f, found = self.at(exposures)
        xp = namespace(exposures, found)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            return found * xp.sum(share, axis=-1, keepdims=True)

        return xp.broadcast_to(log_f, exposures.shape), copies

    def copies_by_gold(
        self, exposures: Float[Array, "*N V"], golds: Int[Array, " G"]
    ) -> Float[Array, "*N G V"]:
        found = self.at(exposures)[1][..., None, :]
        shape = (*found.shape[:-2], len(golds), found.shape[-1])
        return namespace(found).broadcast_to(found, shape)

    def log_counts(
        self, like: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, "V V_or_1"]]:
        copies = self.at(namespace(like).zeros_like(like))[1]
        xp = namespace(like, copies)
        drawn = copies > 0
        logs = xp.where(drawn, xp.log(xp.where(drawn, copies, 1.0)), -xp.inf)
        return logs, xp.zeros_like(like)[:, None]
