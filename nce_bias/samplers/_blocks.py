r"""Labels that are drawn together: one draw brings all labels of a block.

The V labels are V / r blocks of r that follow each other, labels b r to b r + r - 1 being block b,
and rows draw blocks. With n_b the copies of a block among the draws, every label of it has n_b, and

    F_g(z) = F^rows_{b(g)}(Z),        Z_b = sum of z_y over the block,

so all that a law answers is that of the rows' law, at summed exposures. Values v add up alike:
coincidences sum_y v_y^2 n_y (n_y - 1) are those of blocks with the squares summed.

Labels of one block depend on each other, so nothing here is separable: means of every gold are
taken one by one.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import refuse
from nce_bias.numerics.arrays import Array, is_numpy, namespace
from nce_bias.samplers._epoch import EpochLaw
from nce_bias.samplers._iid import IidLaw
from nce_bias.samplers.base import Copies, Labels, Law, Present


class BlocksLaw(Law):
    """The labels of the blocks that `rows` draws."""

    rows: IidLaw | EpochLaw
    views: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.views * self.rows.size

    @property
    def work(self) -> int:
        return self.rows.work + 4 * self.size

    @property
    def work_of_a_gold(self) -> int:
        return self.rows.work_of_a_gold or self.work

    @property
    def error(self) -> Float[Array, ""] | float:
        return self.rows.error

    def _summed(self, values: Float[Array, "*N V"]) -> Float[Array, "*N B"]:
        return values.reshape(*values.shape[:-1], -1, self.views).sum(axis=-1)

    def _spread(self, values: Float[Array, "*N B"]) -> Float[Array, "*N V"]:
        return namespace(values).repeat(values, self.views, axis=-1)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._spread(self.rows.log_laplace(self._summed(exposures)))

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        log_f, copies = self.rows.tilted(self._summed(exposures))
        return self._spread(log_f), lambda share: self._spread(copies(self._summed(share)))

    def copies_by_gold(
        self, exposures: Float[Array, "*N V"], golds: Int[Array, " G"]
    ) -> Float[Array, "*N G V"]:
        copies = self.rows.copies_by_gold(self._summed(exposures), golds // self.views)
        return self._spread(copies)

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        exposures, values = self._summed(exposures), self._summed(values)
        if not is_numpy(exposures, values):
            return self._spread(self.rows.copies_along(exposures, values))
        xp = namespace(exposures)
        dense = self.rows.copies_by_gold(exposures, xp.arange(exposures.shape[-1]))
        return self._spread(xp.sum(dense * values[..., None, :], axis=-1))

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._spread(self.rows.own_hits(self._summed(exposures)))

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        together = namespace(values).sqrt(self._summed(values**2))
        return self._spread(self.rows.coincidences(self._summed(exposures), together))

    def counts(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        return self._spread(self.rows.counts(self._summed(share)))

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """From golds of other blocks, and from the other labels of a label's own block."""
        whole, own = self._summed(share), self.rows.hit_chances()
        others = self.rows.inclusion().average(whole)
        return self._spread(others + whole * own) - share * self._spread(own)

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        """The labels of all blocks from the same one on, so that the first slot may be any."""
        of_rows, of_first = jax.random.split(key)
        blocks, present = self.rows.draw(of_rows, gold // self.views)
        first = jax.random.randint(of_first, (), 0, self.views)
        labels = blocks[:, None] * self.views + (jnp.arange(self.views) + first) % self.views
        return labels.ravel(), jnp.repeat(present, self.views)

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        """A block's chance, shared equally by its labels, is that of a draw to be one of them.

        Raises ValueError where labels of the gold's own block have another.
        """
        if not self.rows.blind:
            raise refuse(
                "loss",
                "it corrects scores by log q, and the other views of a gold's own image are drawn "
                "by another q than it",
                "an uncorrected loss such as nb.infonce, or independent rows with hits kept",
                "nb.with_inclusion(loss) corrects by expected numbers of draws.",
            )
        log_q, log_rest = self.rows.log_proposal()
        return self._spread(log_q) - math.log(self.views), self._spread(log_rest)
