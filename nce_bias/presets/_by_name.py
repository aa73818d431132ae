"""All conventions, by name."""

from __future__ import annotations

import difflib
from typing import Any

from nce_bias._checks import refuse
from nce_bias.presets import (
    candidates,
    graphs,
    language_models,
    queues,
    recommendation,
    resampling,
    retrieval,
    self_supervised,
    sequential_recommendation,
    theory,
)
from nce_bias.presets._convention import Convention, Preset

#: Every convention, family by family; those that several families have a part in come last.
CONVENTIONS: list[Convention] = [
    *language_models.ROWS,
    *recommendation.ROWS,
    *sequential_recommendation.ROWS,
    *retrieval.ROWS,
    *graphs.ROWS,
    *self_supervised.ROWS,
    *theory.ROWS,
    *resampling.ROWS,
    *queues.ROWS,
    *candidates.ROWS,
]

#: Name -> the convention, a function of m that gives the preset.
PRESETS: dict[str, Convention] = {row.name: row for row in CONVENTIONS}

#: Where conventions are used.
FAMILIES = tuple(dict.fromkeys(row.family for row in CONVENTIONS))

#: Those that `nb.audit` compares unless told otherwise.
COMMON = (
    "paper",
    "paper_replacement",
    "tf_sampled_softmax",
    "tf_sampled_softmax_repeats",
    "log_uniform",
    "tfrs_in_batch",
    "tfrs_in_batch_with_hits",
    "in_batch_infonce",
    "mixed_negative_sampling",
    "bengio_senecal_2003",
    "bengio_senecal_2008",
    "blanc_rendle",
    "word2vec",
    "ranking_nce",
    "binary_nce",
)


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
        of negatives from the model, ``power`` of word2vec's popularity, ``pool`` of dynamic
        negative sampling. `Convention.options` lists them.

    Raises
    ------
    ValueError
        An unknown name, with the nearest ones; an option that this convention has not; m < 1, or
        too few for negatives of two kinds. When used: a side that the problem has not.

    Examples
    --------
    >>> problem = Problem([1.0, 0.5, -1.0], [0.6, 0.3, 0.1], popularity=[0.5, 0.3, 0.2])
    >>> preset("in_batch_infonce", m=8).exact(problem).status
    'ok'
    >>> preset("word2vec", m=5, power=1.0)
    word2vec: iid(popularity, m=5, hits='mask'), negative_sampling
    >>> preset("dns", m=1, pool=4)
    dns: iid(best of 4 uniform, m=1), bpr
    """
    return convention(name)(m, **options)


def convention(name: str) -> Convention:
    """The row of a name; ValueError with the nearest ones for an unknown one."""
    if name not in PRESETS:
        near = difflib.get_close_matches(str(name), PRESETS, n=3, cutoff=0.4) or COMMON
        raise refuse(
            "name", f"got {name!r}", " or ".join(near), "nb.presets.table() lists all of them."
        )
    return PRESETS[name]
