"""Many conventions beside each other: one line each, a mark for each number of negatives."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, NullFormatter

from nce_bias.plot.canvas import axes_or_current
from nce_bias.plot.marks import Drawn, check_columns
from nce_bias.plot.style import GREY, style

#: What the columns are called on the axis.
AXES = {
    "relative_bias": "bias, as a share of the exact gradient",
    "cosine": "cosine with the exact gradient",
    "bias_norm": r"bias norm $\|\epsilon\|$ (scores)",
    "variance": "variance of one example's gradient",
    "coverage": "model mass on gold and negatives",
    "loss": "contrastive loss (nats)",
}
#: Few negatives are light, many dark; each is seen on white and on black.
FEW_TO_MANY = LinearSegmentedColormap.from_list("few to many", ["#7CC4F0", "#2E7EBB", "#D55E00"])
#: Biases below are drawn at the left edge, with an arrow for a mark.
FLOOR = 1e-3


def conventions(
    table: pd.DataFrame,
    *,
    y: str = "relative_bias",
    title: str | None = None,
    ax: Axes | None = None,
) -> Drawn:
    """Draw a table of `nb.audit`: conventions in its order from the top, `y` to the right.

    Parameters
    ----------
    table
        Columns ``convention``, ``m``, `y` and, where known, `y` + "_se", drawn as a bar of one
        standard error. Rows without a number are left out.
    y
        "relative_bias" and "bias_norm" have a logarithmic axis that ends at `FLOOR`, below which a
        mark is an arrow at the edge.
    title
        The finding, in words.

    Returns
    -------
    Drawn
        `points` named "convention, m".
    """
    check_columns(table, "convention", "m", y)
    table = table.loc[np.isfinite(table[y])]
    names = list(dict.fromkeys(table["convention"]))
    rows = {name: place for place, name in enumerate(names)}
    sizes = sorted(set(table["m"]))
    shades = FEW_TO_MANY(np.linspace(0, 1, len(sizes)) if len(sizes) > 1 else [0.5])
    colour = dict(zip(sizes, shades, strict=True))
    log = y in ("relative_bias", "bias_norm")
    with style():
        ax = axes_or_current(ax)
        drawn = Drawn(ax)
        for name, part in table.groupby("convention"):
            values = np.maximum(part[y], FLOOR) if log else part[y]
            ax.hlines(rows[str(name)], values.min(), values.max(), color=GREY, linewidth=0.6)
        for line in table.sort_values("m").to_dict("records"):
            value, spread = line[y], line.get(f"{y}_se", np.nan)
            below = log and value < FLOOR
            at, height = (
                (FLOOR, rows[line["convention"]]) if below else (value, rows[line["convention"]])
            )
            if np.isfinite(spread) and not below:
                low = max(value - spread, FLOOR) if log else value - spread
                ax.hlines(height, low, value + spread, color=colour[line["m"]], linewidth=1.4)
            (drawn.points[f"{line['convention']}, {line['m']}"],) = ax.plot(
                [at],
                [height],
                linestyle="",
                marker="<" if below else "o",
                color=colour[line["m"]],
                markersize=5,
            )
        if log:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
        colours = ", from blue to orange" if len(sizes) > 1 else ""
        ax.set_xlabel(f"{AXES.get(y, y)}\nm = {', '.join(map(str, sizes))}{colours}")
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_title(title or "")
    return drawn
