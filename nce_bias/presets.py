"""The conventions of published code by name: how negatives are drawn, and which loss they meet.

"Sampled softmax" and "InfoNCE" name at least five different estimators. `preset` gives one of them,
`table` lists them, `PRESETS` holds them by name:

>>> preset("tfrs_in_batch", m=4)
tfrs_in_batch: iid(popularity, m=4, hits='mask'), ranking_nce
>>> print(preset("word2vec", m=4).words)
m draws from popularity^0.75, those of the gold dropped; logistic loss, no correction

In-batch negatives are the golds of other examples. Here they are independent draws from the
popularity, which is their law but for their dependence within a batch; with that many examples
behind one gradient it is the law of each.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from nce_bias.samplers import Sampler, iid, until_distinct, without_replacement

if TYPE_CHECKING:
    import pandas as pd


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
        The convention in a sentence.
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


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One row of the table: called with m it gives the `Preset`.

    Attributes
    ----------
    name, loss, words, source, popular
        Those of its presets.
    year : int
        When the source appeared.
    sampler_of : callable
        ``m -> Sampler``; what it takes besides are the options of `preset`.
    differs : str
        Where public code does otherwise; empty where nothing is known to.
    """

    name: str
    year: int
    sampler_of: Callable[..., Sampler]
    loss: Loss
    words: str
    source: str
    differs: str = ""
    popular: bool = True

    def __call__(self, m: int, **options: Any) -> Preset:
        """The preset with m negatives; see `preset`."""
        known = list(inspect.signature(self.sampler_of).parameters)[1:]
        for option in options:
            if option not in known:
                raise refuse(
                    "options",
                    f"{self.name} has no {option}",
                    " or ".join(known) or "none",
                    f"Build the sampler itself and pass it with nb.{self.loss.name}.",
                )
        sampler = self.sampler_of(check_count("m", m), **options)
        return Preset(self.name, sampler, self.loss, self.words, self.source, self.popular)


def preset(name: str, m: int, **options: Any) -> Preset:
    """A convention of published code with m negatives: a sampler and its loss.

    Parameters
    ----------
    name : str
        One of `PRESETS`; `table` says what each is.
    m : int
        Number of negatives.
    **options
        What a convention leaves open, each with its source's value as the default: ``temperature``
        of negatives from the model, ``power`` of word2vec's popularity, ``share`` of the batch in
        mixed negative sampling.

    Raises
    ------
    ValueError
        An unknown name, with the nearest ones; an option that this convention has not; m < 1.

    Examples
    --------
    >>> problem = Problem([1.0, 0.5, -1.0], [0.6, 0.3, 0.1], popularity=[0.5, 0.3, 0.2])
    >>> preset("in_batch_infonce", m=8).exact(problem).status
    'ok'
    >>> preset("word2vec", m=5, power=1.0)
    word2vec: iid(popularity, m=5, hits='mask'), negative_sampling
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(str(name), PRESETS, n=3, cutoff=0.4) or list(PRESETS)
        raise refuse(
            "name", f"got {name!r}", " or ".join(near), "nb.presets.table() lists all of them."
        )
    return PRESETS[name](m, **options)


def table() -> pd.DataFrame:
    """All conventions: name, year, sampler, loss, source, and where public code differs."""
    import pandas as pd

    return pd.DataFrame(
        {
            "name": row.name,
            "year": row.year,
            "sampler": re.sub(r"\bm=1\b", "m", repr(row.sampler_of(1))),
            "loss": row.loss.name,
            "source": row.source,
            "differs": row.differs,
        }
        for row in CONVENTIONS
    )


IN_BATCH = (
    "The golds of a batch depend on each other, and one batch serves all its examples: here draws "
    "are independent."
)

CONVENTIONS = [
    Convention(
        name="paper",
        year=2021,
        sampler_of=lambda m, temperature=1.0: without_replacement(model(temperature), m),
        loss=infonce,
        words="m distinct wrong labels drawn from the model; softmax over the candidates, no "
        "correction",
        source="Zhang & Stratos (2021), default of the public code",
        popular=False,
    ),
    Convention(
        name="paper_replacement",
        year=2021,
        sampler_of=lambda m, temperature=1.0: iid(model(temperature), m),
        loss=infonce,
        words="m wrong labels drawn from the model, repetitions allowed; no correction",
        source="Zhang & Stratos (2021), --replacement of the public code",
        popular=False,
    ),
    Convention(
        name="tf_sampled_softmax",
        year=2015,
        sampler_of=lambda m: until_distinct(log_uniform("index"), m),
        loss=sampled_softmax_both,
        words="draws by rank of the label's index until m differ, hits masked; log of 1 - (1 - "
        "q)^tries off gold and negatives",
        source="TensorFlow, tf.nn.sampled_softmax_loss with its default sampler (unique=True)",
        differs="One set of negatives serves a whole batch: here every example has its own.",
        popular=False,
    ),
    Convention(
        name="tf_sampled_softmax_repeats",
        year=2015,
        sampler_of=lambda m: iid(log_uniform("index"), m, hits="mask"),
        loss=sampled_softmax_both,
        words="m draws by rank of the label's index, repetitions allowed, all hits masked; log(m "
        "q) off gold and negatives",
        source="Jean et al. (2015) with the log-uniform candidate sampler and unique=False",
        differs="TensorFlow takes out only the last of several copies of the gold.",
        popular=False,
    ),
    Convention(
        name="log_uniform",
        year=2015,
        sampler_of=lambda m: iid(log_uniform(), m),
        loss=sampled_softmax,
        words="m wrong labels drawn by rank of popularity; log(m q) off the negatives",
        source="Jean et al. (2015) with a log-uniform candidate sampler",
    ),
    Convention(
        name="tfrs_in_batch",
        year=2019,
        sampler_of=lambda m: iid(popularity(), m, hits="mask"),
        loss=ranking_nce,
        words="golds of m other examples, hits masked; log q off gold and negatives",
        source="TensorFlow Recommenders, tasks.Retrieval with candidate_sampling_probability and "
        "remove_accidental_hits; Yi et al. (2019)",
        differs=IN_BATCH,
    ),
    Convention(
        name="tfrs_in_batch_with_hits",
        year=2019,
        sampler_of=lambda m: iid(popularity(), m, hits="keep"),
        loss=ranking_nce,
        words="golds of m other examples, hits kept; log q off gold and negatives",
        source="TensorFlow Recommenders, tasks.Retrieval with candidate_sampling_probability; Yi "
        "et al. (2019)",
        differs=IN_BATCH,
    ),
    Convention(
        name="in_batch_infonce",
        year=2018,
        sampler_of=lambda m: iid(popularity(), m, hits="keep"),
        loss=infonce,
        words="golds of m other examples, hits kept; no correction",
        source="van den Oord et al. (2018), and most code for dual encoders",
        differs=IN_BATCH,
    ),
    Convention(
        name="mixed_negative_sampling",
        year=2020,
        sampler_of=lambda m, share=0.5: iid(
            mixture(popularity(), uniform(), share), m, hits="mask"
        ),
        loss=ranking_nce,
        words="m draws, each the gold of another example or uniform with even chances, hits "
        "masked; log q of that mixture off gold and negatives",
        source="Yang et al. (2020), with batches of equal size",
        differs="The batch and the uniform part have fixed sizes: here each draw is by lot.",
    ),
    Convention(
        name="bengio_senecal_2003",
        year=2003,
        sampler_of=lambda m: iid(popularity(), m, hits="keep"),
        loss=self_normalized,
        words="m draws from the popularity; importance weights over the negatives alone",
        source="Bengio & Senécal (2003), with a fixed number of draws",
        differs="Draws go on until the effective sample size is large enough: here m is fixed.",
    ),
    Convention(
        name="bengio_senecal_2008",
        year=2008,
        sampler_of=lambda m: iid(popularity(), m),
        loss=sampled_softmax,
        words="m wrong labels drawn from the popularity; log(m q) off the negatives",
        source="Bengio & Senécal (2008), with a unigram proposal",
        differs="The proposal is an n-gram model that follows the network: here it is fixed.",
    ),
    Convention(
        name="blanc_rendle",
        year=2018,
        sampler_of=lambda m, temperature=1.0: iid(model(temperature), m),
        loss=sampled_softmax,
        words="m wrong labels drawn from the model; log(m q) off the negatives: no bias at all",
        source="Blanc & Rendle (2018), where a kernel stands in for the model",
        differs="The proposal is a kernel of the scores: here it is the model itself.",
        popular=False,
    ),
    Convention(
        name="word2vec",
        year=2013,
        sampler_of=lambda m, power=0.75: iid(popularity(power), m, hits="mask"),
        loss=negative_sampling,
        words="m draws from popularity^0.75, those of the gold dropped; logistic loss, no "
        "correction",
        source="Mikolov et al. (2013), word2vec.c",
        differs="q and the logistic function are read from tables of finite size.",
    ),
    Convention(
        name="ranking_nce",
        year=2018,
        sampler_of=lambda m: iid(popularity(), m, hits="keep"),
        loss=ranking_nce,
        words="m draws from the popularity, hits kept; log q off gold and negatives",
        source="Ma & Collins (2018), the ranking objective",
    ),
    Convention(
        name="binary_nce",
        year=2010,
        sampler_of=lambda m: iid(popularity(), m, hits="keep"),
        loss=binary_nce,
        words="m draws from the popularity, hits kept; logistic loss with log(m q) off all scores",
        source="Gutmann & Hyvärinen (2010); Mnih & Teh (2012)",
    ),
]

#: Name -> the convention, a function of m that gives the preset.
PRESETS: dict[str, Convention] = {row.name: row for row in CONVENTIONS}
