r"""Losses over one gold and m negatives: which correction is added to which score.

The candidate-softmax losses differ only in their log-weights. With the gold's weight w_+ and the
negatives' weights w(y),

    Z = w_+ + sum_k w(y_k),        loss = log Z - log w_+,        pi(k) = w_k / Z.

========================  ================  ==================  ====================================
loss                      log w_+           log w(y)            source
========================  ================  ==================  ====================================
`infonce`                 s                 s                   Zhang & Stratos (2021); van den Oord
                                                                et al. (2018)
`sampled_softmax`         s                 s - log(m q_y)      Bengio & Senécal (2008); Blanc &
                                                                Rendle (2018)
`sampled_softmax_both`    s - log(m q_y)    s - log(m q_y)      TensorFlow candidate sampling,
                                                                ``subtract_log_q``
`ranking_nce`             s - log q_y       s - log q_y         Ma & Collins (2018)
========================  ================  ==================  ====================================

q is what one negative is drawn from: where the sampler never draws the gold, q_y / (1 - q_gold) for
a negative. The gold is never drawn there; where a loss corrects the gold it uses its q_gold as the
proposal has it. No gradient flows through q.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nce_bias._checks import is_traced, refuse
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler

LogWeights = tuple[Float[Array, " V"], Float[Array, " V"]]

#: What is taken off a score: nothing, log q, or log(m q).
CORRECTIONS = ("none", "log_q", "log_mq")


class CandidateSoftmax(eqx.Module):
    """A softmax over the candidates after corrections; see the module's table."""

    name: str = eqx.field(static=True)
    gold: str = eqx.field(static=True)
    negatives: str = eqx.field(static=True)

    def log_weights(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> LogWeights:
        """log w_+ of each label as a gold and log w of each label as a negative, both `[V]`.

        Where negatives are corrected by q_y / rest_g their weights carry the factor rest_g, which
        depends on the gold. It is divided out of all weights, so that it is the *gold's* weight
        that carries 1 / rest_g and the negatives' are shared by all golds; nothing else changes,
        since the loss and pi depend on ratios alone. A label that q never draws gets weight 0 as a
        negative, which is never used.
        """
        if self.gold == self.negatives == "none":
            return scores, scores
        log_q, log_rest = law.log_proposal()
        log_negative = jnp.where(
            jnp.isneginf(log_q), -jnp.inf, scores - _taken_off(self.negatives, log_q, m)
        )
        log_gold = scores - _taken_off(self.gold, log_q, m)
        return (log_gold if self.negatives == "none" else log_gold - log_rest), log_negative

    def check(self, problem: Problem, sampler: Sampler) -> None:
        """Refuse a gold whose own correction is log 0."""
        if self.gold == "none" or is_traced(problem, sampler):
            return
        unseen = np.isneginf(np.asarray(_log_q_rows(problem, sampler)))
        lost = np.argwhere(unseen & (np.asarray(problem.population_rows) > 0))
        if lost.size:
            row, label = (int(i) for i in lost[0])
            raise refuse(
                "loss",
                f"{self.name} takes log q off the gold, and {sampler!r} has q = 0 at the gold "
                f"{label} of input {row}",
                "q > 0 at every label with pop(y|x) > 0",
                "Mix in another proposal, nb.mixture(q, nb.uniform(), share=0.99), or use "
                "nb.sampled_softmax, which corrects the negatives alone.",
            )

    def __repr__(self) -> str:
        return self.name


@eqx.filter_jit
def _log_q_rows(problem: Problem, sampler: Sampler) -> Float[Array, "X V"]:
    rows = jax.vmap(lambda scores: sampler.law(scores, problem.popularity).log_proposal()[0])
    return rows(problem.score_rows)


def _taken_off(
    correction: str, log_q: Float[Array, " V"], m: int | Float[Array, ""]
) -> Float[Array, " V"]:
    if correction == "none":
        return jnp.zeros_like(log_q)
    return log_q + (jnp.log(m) if correction == "log_mq" else 0.0)


infonce = CandidateSoftmax("infonce", "none", "none")
sampled_softmax = CandidateSoftmax("sampled_softmax", "none", "log_mq")
sampled_softmax_both = CandidateSoftmax("sampled_softmax_both", "log_mq", "log_mq")
ranking_nce = CandidateSoftmax("ranking_nce", "log_q", "log_q")

#: Name on the command line and in tables -> loss.
LOSSES = {loss.name: loss for loss in (infonce, sampled_softmax, sampled_softmax_both, ranking_nce)}
