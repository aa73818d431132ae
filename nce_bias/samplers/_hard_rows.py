r"""Rows of a batch that bring hard negatives with their gold: dense retrieval's triplets.

Every label y has h labels H(y) mined for it, and a row whose gold is y brings y and all of H(y).
The negatives of a row with the gold g are what the B - 1 other rows bring, and H(g) itself, which
is no draw. With Z_u = z_u + sum_{y in H(u)} z_y and phi = sum_u pop(u) e^{-Z_u},

    F_g(z) = phi^{B-1} exp(-sum_{y in H(g)} z_y).

Tilted, the other rows are independent draws p_u = pop(u) e^{-Z_u} / phi. A label comes with its own
rows and with those it was mined for, once in each, so its copies from m = B - 1 rows have the mean
mu_y = m sum_{u brings y} p_u and E[n_y (n_y - 1)] = (1 - 1/m) mu_y^2. Those in H(g) have one more:
their coincidences are larger by 2 mu_y.

`h` = 1 may be a side of the problem that numbers a label for each.

A gold may be mined for another row, and is then a candidate twice, as it is where another row has
the same gold.

Source: Karpukhin et al. (2020), section 3.2.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import refuse
from nce_bias._reads import Declared, proposal
from nce_bias.numerics.arrays import Array, is_numpy, namespace
from nce_bias.problem import Problem
from nce_bias.samplers._iid import IidLaw
from nce_bias.samplers.base import Copies, Labels, Law, Present


class HardRowsLaw(Law):
    """What `rows` and the row itself bring; `mined` `[V, h]` are labels, V for none."""

    rows: IidLaw
    mined: Int[Array, "V h"]

    @property
    def size(self) -> int:
        return self.mined.size + self.rows.size

    @property
    def work(self) -> int:
        return 4 * self.size

    @property
    def work_of_a_gold(self) -> int:
        return self.rows.size

    def _of_mined(self, values: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """The sum over H(u) of each u."""
        xp = namespace(values, self.mined)
        padded = xp.concatenate([values, xp.zeros_like(values[..., :1])], axis=-1)
        return xp.sum(padded[..., self.mined], axis=-1)

    def _mined_for(self, values: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """The sum over the labels u in whose H(u) each y is."""
        shape = (*values.shape[:-1], values.shape[-1] + 1)
        if not is_numpy(values, self.mined):
            found = jnp.zeros(shape, values.dtype)
            return found.at[..., self.mined].add(values[..., None])[..., :-1]
        summed: Any = np.zeros(shape, values.dtype)
        for column in self.mined.T:
            np.add.at(summed.swapaxes(0, -1), column, values.swapaxes(0, -1))
        return summed[..., :-1]

    def _brought(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """Mean copies of each label from the other rows, the same for every gold."""
        rows = self.rows.own_hits(exposures + self._of_mined(exposures))
        return rows + self._mined_for(rows)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        own = self._of_mined(exposures)
        return self.rows.log_laplace(exposures + own) - own

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        brought, xp = self._brought(exposures), namespace(exposures)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            return brought * xp.sum(share, axis=-1, keepdims=True) + self._mined_for(share)

        return self.log_laplace(exposures), copies

    def copies_by_gold(
        self, exposures: Float[Array, "*N V"], golds: Int[Array, " G"]
    ) -> Float[Array, "*N G V"]:
        xp = namespace(exposures, self.mined)
        labels = xp.arange(exposures.shape[-1])
        own = xp.sum(self.mined[golds][..., None] == labels, axis=-2)  # [G, V]
        return self._brought(exposures)[..., None, :] + own

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        xp = namespace(exposures, values)
        brought = xp.sum(self._brought(exposures) * values, axis=-1, keepdims=True)
        return brought + self._of_mined(values)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._brought(exposures)

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        brought, xp = self._brought(exposures), namespace(exposures, values)
        among = xp.sum((values * brought) ** 2, axis=-1, keepdims=True)
        return (1 - 1 / self.rows.m) * among + 2 * self._of_mined(values**2 * brought)

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """Surely by golds for which a label was mined, else by the other rows."""
        xp = namespace(share)
        chance = self.rows.q + self._mined_for(self.rows.q)
        missed = xp.exp(self.rows.m * xp.log1p(-xp.minimum(chance, 1.0)))
        others = xp.sum(share) - share
        return others - missed * (others - self._mined_for(share))

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        rows, _ = self.rows.draw(key, gold)
        mined = jnp.concatenate([jnp.asarray(self.mined)[rows].ravel(), self.mined[gold]])
        labels = jnp.concatenate([rows, mined])
        none = labels == self.mined.shape[0]
        return jnp.where(none, 0, labels), ~none


class MinedBySide(eqx.Module):
    """The labels `[V, 1]` that a side numbers; V for none."""

    portable: ClassVar[bool] = True
    side: str = eqx.field(static=True)

    def __call__(self, side):
        xp = namespace(side)
        numbers = side.astype(int)
        return xp.where(numbers < 0, side.shape[-1], numbers)[:, None]

    def __repr__(self) -> str:
        return self.side


def mined_by_side(side: str) -> Declared:
    """What reads the labels mined for each label, one each, in a side."""
    return proposal(MinedBySide(side), (side,))


def check_mined_by_side(mined: Any, problem: Problem) -> None:
    """Refuse a side that numbers no labels."""
    (name,) = mined.reads
    rows = np.atleast_2d(np.asarray(problem.sides[name]))
    if not np.array_equal(rows, np.rint(rows)):
        raise refuse(
            f"side {name!r}",
            "has numbers that are not whole",
            "the number of the label mined for each label, -1 for none",
            "Give numbers of labels, as its columns are numbered.",
        )
    for row in rows.astype(int):
        check_mined(row[:, None])


def check_mined(hard: Any) -> np.ndarray:
    """Labels `[V, h]`, distinct in each row and not its own; V for none."""
    found = np.asarray(hard)
    if found.ndim != 2 or found.dtype.kind not in "iu":
        raise refuse(
            "hard",
            f"got {found.dtype} of shape {found.shape}",
            "integers [V, h], the labels mined for each label",
            "Give -1 where there are fewer than h.",
        )
    labels, own = len(found), np.arange(len(found))[:, None]
    alike = (found[:, :, None] == found[:, None, :]) & (found >= 0)[:, None, :]
    wrong = (found < -1) | (found >= labels) | (found == own) | (alike.sum(axis=2) > 1)
    if wrong.any():
        row, place = (int(i) for i in np.argwhere(wrong)[0])
        raise refuse(
            "hard",
            f"got {found[row, place]} at place {place} of label {row}",
            f"labels from 0 to {labels - 1}, none twice and not the label itself, or -1",
            "Take golds and repetitions out of what was mined.",
        )
    return np.where(found < 0, labels, found)
