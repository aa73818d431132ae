r"""Which convention is my code? Recorded candidate sets and gradients against the named ones.

Two things make a convention, and both are compared. **The law**: how often each label stands among
the recorded negatives of a gold, and how often twice in one set, against what the convention's
sampler expects, by p-values (`nce_bias.check`). **The loss**: on a recorded set the convention's
own gradient is no matter of chance; it is computed from the same labels and compared with the
recorded one, up to one factor for all sets (a mean over a batch, a temperature outside the scores).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nce_bias._checks import check_kind, refuse
from nce_bias._split_input import check_whole
from nce_bias._which.candidates import asked
from nce_bias._which.gradients import NOT_COMPARED, compare
from nce_bias._which.laws import Laws
from nce_bias._which.recorded import record
from nce_bias._which.report import Verdict, Which, told_apart
from nce_bias.problem import Problem

__all__ = ["Verdict", "Which", "which"]


def which(  # noqa: PLR0913 (keyword-only)
    problem: Problem,
    labels: Any,
    golds: Any,
    gradients: Any = None,
    *,
    loss: Callable[[Any, Any], Any] | None = None,
    present: Any = None,
    inputs: Any = None,
    presets: Any = None,
    level: float = 0.01,
    tolerance: float = 1e-4,
) -> Which:
    r"""The named conventions that fit what your own code drew and computed, and those that do not.

    Parameters
    ----------
    problem : Problem
        The scores (in score space, before any correction), population and popularity that your code
        saw; proposals of conventions read them.
    labels : integers [sets, slots]
        The negatives of each recorded set, -1 where a slot is empty.
    golds : integers [sets]
        The gold of each set.
    gradients : [sets, V] or [sets, 1 + slots], optional
        The gradient of each set's loss by the scores: of all labels, or of the gold and the slots.
        Where both are as many columns, they are labels. A few dozen sets will do: NaN in the rows
        of others. Without gradients and `loss` the laws alone are compared.
    loss : callable, optional
        In place of gradients: your loss of one set, ``loss(gold_score, negative_scores)`` in JAX,
        differentiated here.
    present : booleans [sets, slots], optional
        Where a slot is not empty, in place of -1.
    inputs : integers [sets], optional
        The input of each set; default 0.
    presets : optional
        Names, presets or a mapping, as for `audit`; default all of `nb.presets.PRESETS` whose sides
        the problem has. Named with as many negatives as there are slots.
    level : float
        The chance that the right law is rejected.
    tolerance : float
        Relative error up to which gradients are the same: the default suits float32.

    Returns
    -------
    Which
        `fits` and `rejected` by name with their reasons, `status`, `to_frame`, a readable repr.

    Raises
    ------
    ValueError
        Labels, golds or gradients that are none of this problem.

    Notes
    -----
    Sets are taken to be drawn independently. Rows of one batch that are each other's negatives are
    not: record one row of each batch, or the right law may be rejected.

    Gradients are compared where the law is not rejected. Conventions whose corrections depend on
    how a set was drawn (the number of tries) are compared by their law alone, and left out by
    default with others whose laws take minutes: name them in `presets`. Two conventions that both
    fit may have laws that these sets are too few to tell apart; `status` says how many would do.

    Examples
    --------
    >>> import numpy as np
    >>> pop = [0.4, 0.3, 0.2, 0.1]
    >>> problem = Problem([1.0, 0.2, -0.5, 0.1], pop, popularity=[0.1, 0.2, 0.3, 0.4])
    >>> rng = np.random.default_rng(0)
    >>> golds = rng.choice(4, size=4000, p=pop)
    >>> labels = rng.choice(4, size=(4000, 2), p=[0.1, 0.2, 0.3, 0.4])
    >>> import jax
    >>> def mine(gold, negatives):
    ...     return jax.nn.logsumexp(jax.numpy.append(negatives, gold)) - gold
    >>> names = ["in_batch_infonce", "ranking_nce", "blanc_rendle"]
    >>> found = which(problem, labels, golds, loss=mine, presets=names)
    >>> found.fits
    ('in_batch_infonce',)
    """
    check_kind("problem", problem, Problem, "nb.which(problem, labels, golds, gradients)")
    check_whole(problem, "nb.which")
    if loss is not None and gradients is not None:
        raise refuse("loss", "got gradients too", "one of the two", "Leave one of them out.")
    seen = record(problem, labels, golds, present, inputs)
    known = seen.gradients_of(gradients, loss)
    laws = Laws(problem, seen, level)
    verdicts = []
    for name, preset in asked(presets, problem, seen.slots).items():
        law = laws.verdict(preset.sampler)
        found = NOT_COMPARED if law.rejected else compare(problem, seen, known, preset)
        verdicts.append(Verdict.of(name, preset, law, found, tolerance))
    kept = [verdict for verdict in verdicts if verdict.fits]
    said = [(verdict.name, laws.said(verdict.preset.sampler)) for verdict in kept]
    few = told_apart(said, seen, level)
    compared = bool(np.isfinite(known).any())
    return Which(tuple(verdicts), seen.sets, seen.slots, level, tolerance, few, compared)
