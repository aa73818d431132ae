"""The conventions of published code by name: how negatives are drawn, and which loss they meet.

"Sampled softmax" and "InfoNCE" name at least five different estimators. `preset` gives one of them,
`table` lists them, `PRESETS` holds them by name, a file for each of `FAMILIES`:

>>> preset("tfrs_in_batch", m=4)
tfrs_in_batch: iid(popularity, m=4, hits='mask'), ranking_nce
>>> print(preset("word2vec", m=4).words)
m draws from popularity^0.75, those of the gold dropped; logistic loss, no correction

**In-batch negatives** are the golds of other examples. Here they are independent draws from the
popularity, which is their law but for their dependence within a batch; with that many examples
behind one gradient it is the law of each.

**What is read besides scores and popularity** is a side of the problem: known positives, stale
scores, a teacher's (`Convention.sides`). `example` is a problem that has all of them.

**Two names for one thing.** `Convention.same_as` names the convention whose expected gradient a row
has on every problem, with its default options: two sources for one estimator, or two losses of one
gradient. corrected_logq (2025) is bengio_senecal_2008, given the negatives that are left once hits
are taken out; bpr with one negative is InfoNCE with one.

**Status.** "read" says that the paper or its code was read for the row, "as we read it" that the
row is told from general knowledge: look at the paper before quoting it.

**A batch's other rows** bring two labels each in simclr, decoupled_views, dpr and star, so
that m is even there: rows of a batch are m / 2 + 1.

**Both directions** of CLIP's matrix are `Preset.both_directions`, of clip_one_way as of others.

**Not here** are other conventions whose law or loss needs more than one input, and those whose form
we are not sure of.
"""

from nce_bias.presets._by_name import COMMON, CONVENTIONS, FAMILIES, PRESETS, convention, preset
from nce_bias.presets._convention import AS_WE_READ_IT, READ, Convention, Preset
from nce_bias.presets._side_proposals import SIDES
from nce_bias.presets._table import example, table

__all__ = [
    "AS_WE_READ_IT",
    "COMMON",
    "CONVENTIONS",
    "FAMILIES",
    "PRESETS",
    "READ",
    "SIDES",
    "Convention",
    "Preset",
    "convention",
    "example",
    "preset",
    "table",
]
