r"""Distinct draws as TensorFlow makes them: from all of q, again and again until m labels differ.

The set has the law of `without_replacement` with hits. What is particular is the correction: with T
the number of tries that it took, TensorFlow's candidate samplers take off the logarithm of

    1 - (1 - q_y)^T,        or of m q_y where T = m,

as the expected number of copies, from the gold's score too. T is random and depends on the set, so
weights and set are drawn together: one of several laws by lot, for each n that of the set given
T = n (`TriesLaw`) with a correction of its own, and every moment is the mean over n.

**How many n.** E[T] is finite, its tail geometric. Which labels are seen in n draws is negatively
associated, so for every theta > 0

    P(T > n) <= e^{theta (m - 1)} prod_y (1 - (1 - (1 - q_y)^n) (1 - e^{-theta})),

and n ends where this is below a tenth of the tolerance. What is left out is added to `error`.

**Few of many n.** Given n, moments are smooth in n. Where there are more than `MOST_EACH` the mean
over n is a rule of few of them, with the weights that are exact for polynomials: as few as give
the means of P(y in the set | n) and of that over what is taken off, c = 1 - (1 - q_y)^n, and of 1/c
and log c for every label to the tolerance. That is an estimate, not a bound; n = m, whose
correction is another, always stands alone.

**Limits.** Cost O(V m sqrt(T)) for each n and node in t. Draws go on as long as it takes: a
proposal with hardly more than m labels takes long, and more than `MOST_TRIES` tries have no exact
moments.

Source: TensorFlow, ``tf.random.log_uniform_candidate_sampler`` and its kin with unique=True;
Joag-Dev & Proschan (1983) for negative association.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from nce_bias._checks import NoExactMethod, check_count, is_traced, refuse
from nce_bias.problem import Problem
from nce_bias.proposals import Proposal, describe, log_proposal_rows
from nce_bias.samplers._distinct_hits import DistinctHits, DistinctHitsLaw
from nce_bias.samplers._line import invert
from nce_bias.samplers._tries import TriesLaw, points
from nce_bias.samplers.base import Labels, Law, Lot, Present, Sampler

#: Tries beyond which no exact moments are tried.
MOST_TRIES = 4096
#: Numbers of tries that are all taken; above, a rule.
MOST_EACH = 16
#: Seconds for a label, a coefficient, a point, a node and a number of tries, and what a gold takes.
SECONDS, MOST_SECONDS = 2e-8, 3600.0
#: Nodes in t for which the time is estimated.
NODES_IN_T = 160


class Tries(eqx.Module):
    """Numbers of tries that stand for all from m to the last: weights are `basis` @ P(T = n)."""

    chosen: Float[Array, " L"]
    basis: Float[Array, "L N"]
    points: int = eqx.field(static=True)


class UntilDistinctLaw(DistinctHitsLaw):
    """The set's law whatever the tries, and by lot given their number."""

    tries: Tries | None = None

    def by_lot(self) -> Lot | None:
        if self.tries is None:
            return None
        tries = self.tries

        def law(n):
            return TriesLaw(self.log_q, n, self.m, tries.points, self.hits)

        every = self.m + jnp.arange(tries.basis.shape[-1], dtype=self.log_q.dtype)
        chances = jnp.exp(jax.lax.map(lambda n: law(n).log_chance, every))
        weights = tries.basis @ chances
        return Lot(weights / jnp.sum(weights), jax.vmap(law)(tries.chosen), self.tolerance)

    def draw_by_lot(
        self, key: PRNGKeyArray, gold: Int[Array, ""]
    ) -> tuple[Labels, Present, TriesLaw]:
        """Draws until m labels differ; the law given how many it took."""
        cdf = jnp.cumsum(jnp.exp(self.log_q))

        def again(state):
            key, labels, seen, found, n = state
            key, now = jax.random.split(key)
            label = invert(cdf, jax.random.uniform(now, (1,), dtype=cdf.dtype) * cdf[-1])[0]
            labels = labels.at[jnp.where(seen[label], self.m, found)].set(label, mode="drop")
            found = found + ~seen[label]
            return key, labels, seen.at[label].set(True), found, n + 1

        nothing = jnp.zeros(self.m, int), jnp.zeros(cdf.shape, bool)
        start = key, *nothing, jnp.zeros((), int), jnp.zeros((), int)
        _, labels, _, _, n = jax.lax.while_loop(lambda state: state[3] < self.m, again, start)
        law = TriesLaw(self.log_q, n.astype(cdf.dtype), self.m, 0, self.hits)
        return labels, (labels != gold) | (self.hits == "keep"), law

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        return self.draw_by_lot(key, gold)[:2]


class UntilDistinct(DistinctHits):
    """See `until_distinct`."""

    tries: Tries | None = None

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Law:
        return UntilDistinctLaw(**self._of_the_law(scores, popularity), tries=self.tries)

    @property
    def costly(self) -> bool:
        return True

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        """With the numbers of tries that are taken."""
        if is_traced(problem, self):
            raise NoExactMethod(
                f"{self!r} has exact moments for concrete values alone: how many tries are needed "
                "follows from q. Call nb.exact outside of jax.jit, or use nb.monte_carlo."
            )
        plain = super().sized(problem, tolerance)
        rows = np.unique(np.asarray(log_proposal_rows(self.proposal, problem), float), axis=0)
        last = max(last_try(np.exp(row), self.m, tolerance / 10) for row in rows)
        if last > MOST_TRIES:
            raise NoExactMethod(
                f"{self!r} takes more than {MOST_TRIES} tries with a chance above {tolerance:.0e}. "
                "Use nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000), or a "
                "smaller m."
            )
        count = points(last - self.m, tolerance)
        chosen, basis = choose(rows, self.m, last, count, tolerance)
        self._check_time(problem.labels, count, len(chosen))
        dtype = problem.scores.dtype
        tries = Tries(jnp.asarray(chosen, dtype), jnp.asarray(basis, dtype), count)
        return dataclasses.replace(plain, tries=tries)

    def _check_time(self, labels: int, count: int, chosen: int) -> None:
        seconds = SECONDS * labels * self.m * count * NODES_IN_T * chosen
        if seconds > MOST_SECONDS:
            raise NoExactMethod(
                f"{self!r} with {labels} labels would take at least {seconds / 3600:.1f} hours per "
                "input exactly. Use nb.monte_carlo(problem, sampler, loss, key=key, "
                "draws=100_000), a smaller m, or nb.iid."
            )

    def __repr__(self) -> str:
        hits = "" if self.hits == "mask" else f", hits={self.hits!r}"
        return f"until_distinct({describe(self.proposal)}, m={self.m}{hits})"


def last_try(q: np.ndarray, m: int, tolerance: float) -> int:
    """The first n of a growing list with P(T > n) below `tolerance`, by the bound above."""
    if m == 1:
        return 1
    theta = np.geomspace(0.1, 60.0, 40)[:, None]
    n, log_missed = float(m), np.log1p(-np.minimum(q, 1 - 1e-16))
    while n <= MOST_TRIES:
        seen = -np.expm1(n * log_missed)
        logs = theta[:, 0] * (m - 1) + np.log1p(np.maximum(seen * np.expm1(-theta), 1e-16 - 1)).sum(
            axis=1
        )
        if logs.min() < np.log(tolerance):
            return int(n)
        n = np.ceil(n * 1.05 + 1)
    return int(n)


def choose(
    rows: np.ndarray, m: int, last: int, count: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of tries and the matrix that turns P(T = m), ..., P(T = last) into their weights."""
    every = np.arange(m, last + 1)
    if len(every) <= MOST_EACH:
        return every, np.eye(len(every))
    cases = [Case.of(row, m, every, count) for row in rows]
    mean = np.mean([case.chances for case in cases], axis=0)
    for degree in range(MOST_EACH // 2, len(every) - 1, 4):
        chosen, basis = rule(every, mean, degree)
        if max(case.off(chosen - m, basis) for case in cases) < tolerance:
            return chosen, basis
    return every, np.eye(len(every))


class Case(NamedTuple):
    """What a rule is judged by: P(T = n) `[N]`, and functions of n `[N, F]`."""

    chances: np.ndarray
    functions: np.ndarray

    @classmethod
    def of(cls, log_q: np.ndarray, m: int, every: np.ndarray, count: int) -> Case:
        """For one q."""
        n = jnp.asarray(every, log_q.dtype)
        log_chance, inside = map(np.asarray, _at_each(jnp.asarray(log_q), n, m, count))
        log_missed = np.log1p(-np.minimum(np.exp(log_q), 1 - 1e-16))
        taken = np.maximum(-np.expm1(every[:, None] * log_missed), 1e-300)
        chances = np.exp(log_chance) / np.exp(log_chance).sum()
        functions = inside, inside / taken, 1 / taken, np.log(taken)
        return cls(chances, np.concatenate(functions, axis=1))

    def off(self, places: np.ndarray, basis: np.ndarray) -> float:
        """The largest error of the rule, relative where the mean is above 1."""
        exact = self.chances @ self.functions
        found = (basis @ self.chances) @ self.functions[places]
        return float(np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1.0)))


@eqx.filter_jit
def _at_each(log_q, every, m: int, count: int):
    """Log P(T = n) and P(y in the set | n)."""

    def at(n):
        law = TriesLaw(log_q, n, m, count, "keep").prepared()
        return law.log_chance, law.own_hits(jnp.zeros_like(log_q))

    return jax.lax.map(at, every)


def rule(every: np.ndarray, chances: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`size` numbers of tries near the nodes of the Gauss rule of P(T = n), n > m; and n = m.

    Row k of the matrix holds the k-th Lagrange polynomial of the chosen at every n > m.
    """
    n, chance = every[1:].astype(float), chances[1:] / chances[1:].sum()
    mean = chance @ n
    spread = np.sqrt(chance @ (n - mean) ** 2)
    x = (n - mean) / spread
    a, b, previous, now = [], [], np.zeros_like(x), np.ones_like(x)
    for _ in range(size):  # Stieltjes' recurrence for orthonormal polynomials
        a.append(chance @ (x * now**2))
        after = (x - a[-1]) * now - (b[-1] if b else 0.0) * previous
        norm = np.sqrt(chance @ after**2)
        b.append(norm)
        previous, now = now, after / max(norm, 1e-300)
    gauss = np.linalg.eigvalsh(np.diag(a) + np.diag(b[:-1], 1) + np.diag(b[:-1], -1))
    wanted = np.rint(gauss * spread + mean)
    chosen: list[float] = []
    for node in wanted:  # the nearest that is free
        free = n[~np.isin(n, chosen)]
        chosen.append(free[np.argmin(np.abs(free - node))])
    nodes = (np.sort(chosen) - mean) / spread
    ratios = np.ones((size, len(n)))
    for k, node in enumerate(nodes):
        for other in np.delete(nodes, k):
            ratios[k] *= (x - other) / (node - other)
    basis = np.zeros((size + 1, len(every)))
    basis[0, 0], basis[1:, 1:] = 1.0, ratios
    return np.concatenate([every[:1], np.sort(chosen).astype(int)]), basis


def until_distinct(proposal: Proposal, m: int, hits: str = "mask") -> UntilDistinct:
    """Draws from all of `proposal`, with replacement, until m labels differ: TensorFlow's default.

    The set is that of ``without_replacement(proposal, m, hits)``; corrections take the logarithm of
    1 - (1 - q)^T off, with T the tries that it took, or log(m q) where T = m.

    Parameters
    ----------
    proposal : callable
        ``(scores[V], popularity[V]) -> log q[V]``.
    m : int
        Number of distinct labels (``num_sampled``).
    hits : {"mask", "keep"}
        The gold, if drawn, is dropped (``remove_accidental_hits=True``), or a candidate again.

    Raises
    ------
    ValueError
        m < 1 or an unknown policy; when used, m > V - 1 or fewer than m labels with q > 0 besides a
        gold.
    """
    if hits not in ("mask", "keep"):
        raise refuse(
            "hits",
            f"got {hits!r}",
            "'mask' or 'keep'",
            "Draws without the gold are nb.without_replacement(proposal, m).",
        )
    return UntilDistinct(proposal=proposal, m=check_count("m", m), hits=hits)
