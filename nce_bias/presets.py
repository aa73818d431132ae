"""The conventions of published code by name: how negatives are drawn, and which loss they meet.

"Sampled softmax" and "InfoNCE" name at least five different estimators. Each entry of `PRESETS` is
a function of m that gives one of them, with its source and in words:

>>> presets.PRESETS["tfrs_in_batch"](m=4)
tfrs_in_batch: iid(popularity, m=4, hits='mask'), ranking_nce
>>> print(presets.PRESETS["word2vec"](m=4).words)
m draws from popularity^0.75, those of the gold dropped; logistic loss, no correction

In-batch negatives are the golds of other examples. Here they are independent draws from the
popularity, which is their law but for their dependence within a batch; with that many examples
behind one gradient it is the law of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from nce_bias._checks import check_count, is_traced, refuse
from nce_bias.engine._exact import exact
from nce_bias.engine._monte_carlo import monte_carlo
from nce_bias.engine.moments import Moments
from nce_bias.losses import (
    Loss,
    binary_nce,
    infonce,
    negative_sampling,
    ranking_nce,
    sampled_softmax,
    sampled_softmax_both,
    self_normalized,
)
from nce_bias.problem import Problem
from nce_bias.proposals import log_uniform, mixture, model, popularity, uniform
from nce_bias.samplers import Sampler, iid, without_replacement


@dataclass(frozen=True)
class Preset:
    """A named pair of a sampler and a loss.

    Attributes
    ----------
    name : str
        Its key in `PRESETS`.
    sampler, loss
        What it means: `exact(problem, preset.sampler, preset.loss)`.
    words : str
        The convention in a sentence, with what our definitions leave out.
    source : str
        Paper, or project and function.
    popular : bool
        Whether negatives are drawn from pop(y), so that a problem needs one.
    """

    name: str
    sampler: Sampler
    loss: Loss
    words: str
    source: str
    popular: bool

    def check(self, problem: Problem) -> None:
        """Raise ValueError where pop(y) is wanted and is pop(y|x) of the only input."""
        if not self.popular or is_traced(problem):
            return
        rows = np.asarray(problem.population_rows)
        if len(rows) == 1 and np.array_equal(rows[0], np.asarray(problem.popularity)):
            raise refuse(
                "problem",
                f"{self.name} draws from the popularity, and this problem has one input whose "
                "pop(y|x) stands for it",
                "a popularity pop(y) of its own, or several inputs to average",
                "Pass popularity=..., the shares of the labels over all inputs, to nb.Problem.",
            )

    def exact(self, problem: Problem, **options: Any) -> Moments:
        """`exact` of the pair, after `check`."""
        self.check(problem)
        return exact(problem, self.sampler, self.loss, **options)

    def monte_carlo(self, problem: Problem, **options: Any) -> Moments:
        """`monte_carlo` of the pair, after `check`."""
        self.check(problem)
        return monte_carlo(problem, self.sampler, self.loss, **options)

    def __repr__(self) -> str:
        return f"{self.name}: {self.sampler!r}, {self.loss.name}"


def _preset(
    name: str,
    draw: Callable[[int], Sampler],
    loss: Loss,
    words: str,
    source: str,
    *,
    popular: bool = True,
) -> tuple[str, Callable[[int], Preset]]:
    def make(m: int) -> Preset:
        return Preset(name, draw(check_count("m", m)), loss, words, source, popular)

    make.__name__, make.__doc__ = name, f"{words}. Source: {source}."
    return name, make


def _blend() -> Any:
    return mixture(popularity(), uniform(), share=jnp.asarray(0.5))


#: Name -> function of m that gives the preset.
PRESETS: dict[str, Callable[[int], Preset]] = dict(
    [
        _preset(
            "paper",
            lambda m: without_replacement(model(), m),
            infonce,
            "m distinct wrong labels drawn from the model; softmax over the candidates, no "
            "correction",
            "Zhang & Stratos (2021), default of the public code",
            popular=False,
        ),
        _preset(
            "paper_replacement",
            lambda m: iid(model(), m),
            infonce,
            "m wrong labels drawn from the model, repetitions allowed; no correction",
            "Zhang & Stratos (2021), --replacement of the public code",
            popular=False,
        ),
        _preset(
            "tf_sampled_softmax",
            lambda m: iid(log_uniform(), m, hits="mask"),
            sampled_softmax_both,
            "m draws by rank of popularity, hits masked; log(m q) off gold and negatives. As with "
            "unique=False: TensorFlow's default redraws until m distinct labels are found and "
            "takes off the log of 1 - (1 - q)^tries",
            "TensorFlow, tf.nn.sampled_softmax_loss with the log-uniform candidate sampler",
        ),
        _preset(
            "log_uniform",
            lambda m: iid(log_uniform(), m),
            sampled_softmax,
            "m wrong labels drawn by rank of popularity; log(m q) off the negatives",
            "Jean et al. (2015) with a log-uniform candidate sampler",
        ),
        _preset(
            "tfrs_in_batch",
            lambda m: iid(popularity(), m, hits="mask"),
            ranking_nce,
            "golds of m other examples, hits masked; log q off gold and negatives",
            "TensorFlow Recommenders, tasks.Retrieval with candidate_sampling_probability and "
            "remove_accidental_hits; Yi et al. (2019)",
        ),
        _preset(
            "tfrs_in_batch_with_hits",
            lambda m: iid(popularity(), m, hits="keep"),
            ranking_nce,
            "golds of m other examples, hits kept; log q off gold and negatives",
            "TensorFlow Recommenders, tasks.Retrieval with candidate_sampling_probability; Yi et "
            "al. (2019)",
        ),
        _preset(
            "in_batch_infonce",
            lambda m: iid(popularity(), m, hits="keep"),
            infonce,
            "golds of m other examples, hits kept; no correction",
            "van den Oord et al. (2018), and most code for dual encoders",
        ),
        _preset(
            "mixed_negative_sampling",
            lambda m: iid(_blend(), m, hits="mask"),
            ranking_nce,
            "m draws, each the gold of another example or uniform with even chances, hits masked; "
            "log q of that mixture off gold and negatives",
            "Yang et al. (2020), with batches of equal size",
        ),
        _preset(
            "bengio_senecal_2003",
            lambda m: iid(popularity(), m, hits="keep"),
            self_normalized,
            "m draws from the popularity; importance weights over the negatives alone",
            "Bengio & Senécal (2003), with a fixed number of draws",
        ),
        _preset(
            "bengio_senecal_2008",
            lambda m: iid(popularity(), m),
            sampled_softmax,
            "m wrong labels drawn from the popularity; log(m q) off the negatives",
            "Bengio & Senécal (2008), with a unigram proposal",
        ),
        _preset(
            "blanc_rendle",
            lambda m: iid(model(), m),
            sampled_softmax,
            "m wrong labels drawn from the model; log(m q) off the negatives: no bias at all",
            "Blanc & Rendle (2018), where a kernel stands in for the model",
            popular=False,
        ),
        _preset(
            "word2vec",
            lambda m: iid(popularity(0.75), m, hits="mask"),
            negative_sampling,
            "m draws from popularity^0.75, those of the gold dropped; logistic loss, no correction",
            "Mikolov et al. (2013), word2vec.c",
        ),
        _preset(
            "ranking_nce",
            lambda m: iid(popularity(), m, hits="keep"),
            ranking_nce,
            "m draws from the popularity, hits kept; log q off gold and negatives",
            "Ma & Collins (2018), the ranking objective",
        ),
        _preset(
            "binary_nce",
            lambda m: iid(popularity(), m, hits="keep"),
            binary_nce,
            "m draws from the popularity, hits kept; logistic loss with log(m q) off all scores",
            "Gutmann & Hyvärinen (2010); Mnih & Teh (2012)",
        ),
    ]
)
