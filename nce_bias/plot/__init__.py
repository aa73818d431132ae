"""Figures from tables: every function takes a tidy pandas table, draws, and returns its artists.

Nothing here computes a moment or knows the rest of the library, and nothing changes Matplotlib's
global style. A negative distribution has one colour and one marker in every figure (`COLOURS`).

========================  ==========================================================================
`curves`                  lines of one column against another, one for each group, with bands
`points`                  published values, as hollow markers
`limits`                  values that curves tend to, as dashed lines
`loss_against_step`       cross entropy and contrastive losses along training
`bias_against_step`       norm of the gradient bias along training
`bias_against_m`          the same against the number of negatives
`compare`                 a table of ``nce-bias compare``
`conventions`             a table of ``nb.audit``, one line a convention
`direct_labels`           names at the ends of the lines; `legend` where there is no room for them
`figure`, `save`          axes in the style, and a file that is the same every time
`finding`                 the title of a figure: what it shows, in words
`for_paper`               the width of a venue's column, and type that survives it
`table`                   a table as LaTeX (booktabs) or Markdown
========================  ==========================================================================

Examples
--------
>>> import pandas as pd
>>> from nce_bias import plot
>>> table = pd.DataFrame({"m": [1, 4, 16], "bias_norm": [0.3, 0.2, 0.1], "negatives": "uniform"})
>>> fig, ax = plot.figure()
>>> drawn = plot.bias_against_m(table, ax=ax, title="More negatives, less bias")
>>> drawn.lines["uniform"].get_ydata().tolist()
[0.3, 0.2, 0.1]
"""

from nce_bias.plot.canvas import figure, finding, save
from nce_bias.plot.conventions import conventions
from nce_bias.plot.labels import direct_labels, legend
from nce_bias.plot.marks import Drawn, curves, limits, points
from nce_bias.plot.paper import VENUES, for_paper
from nce_bias.plot.quantities import bias_against_m, bias_against_step, compare, loss_against_step
from nce_bias.plot.style import (
    CATEGORIES,
    COLOURS,
    GREY,
    MARKERS,
    SCORE_COLOURS,
    SECOND,
    STYLE,
    VERDICT_COLOURS,
    Look,
    display_name,
    lighten,
    looks,
    style,
)
from nce_bias.plot.tables import table

__all__ = [
    "CATEGORIES",
    "COLOURS",
    "GREY",
    "MARKERS",
    "SCORE_COLOURS",
    "SECOND",
    "STYLE",
    "VENUES",
    "VERDICT_COLOURS",
    "Drawn",
    "Look",
    "bias_against_m",
    "bias_against_step",
    "compare",
    "conventions",
    "curves",
    "direct_labels",
    "display_name",
    "figure",
    "finding",
    "for_paper",
    "legend",
    "lighten",
    "limits",
    "looks",
    "loss_against_step",
    "points",
    "save",
    "style",
    "table",
]
