"""Two labels: the exact bias as lines, closed forms as markers."""

import pathlib

from analysis.frames import read, where
from nce_bias import plot

TITLES = {
    "keep": "Hits kept: to $a^2/(a^2+(1-a)^2)$",
    "mask": "Hits masked: to the other label",
    "exclude": "Hits excluded: 0 at $m=1$",
}
FINDING = (
    "Model negatives keep a bias at the optimum, $p=$ pop; only one draw without the gold does not"
)
SHADES = tuple(plot.lighten(plot.COLOURS["model"], share) for share in (0.7, 0.45, 0.2, 0.0))


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``two_labels.png`` from ``bias.csv`` and ``closed_form.csv``."""
    bias, formula = read(results, "bias", "closed_form")
    fig, axes = plot.figure(1, 3, width=7.6, height=2.9, sharex=True, sharey=True)
    with plot.style():
        for ax, (hits, title) in zip(axes.flat, TITLES.items(), strict=True):
            for shade, (m, rows) in zip(SHADES, where(bias, hits=hits).groupby("m"), strict=True):
                ax.plot(rows["a"], rows["bias_norm"], color=shade, label=f"$m={m}$, exact")
            for marker, (m, rows) in zip(
                ("o", "x"), where(formula, hits=hits).groupby("m"), strict=True
            ):
                shown = rows.iloc[4::9]
                name = "$m=1$" if m == 1 else r"$m\to\infty$"
                ax.plot(
                    shown["a"],
                    shown["bias_norm"],
                    marker,
                    color="black",
                    fillstyle="none",
                    markersize=4,
                    label=f"{name}, closed form",
                )
            ax.set_title(title, fontsize=8.5)
            ax.set_xlabel("$a$, the share of label 0")
            ax.set_xlim(0, 1)
            ax.set_ylim(0, 1.05)
        axes.flat[0].set_ylabel(r"bias norm $\|\varepsilon\|$")
        axes.flat[0].legend(fontsize=6.5, frameon=False, loc="upper center")
        plot.finding(fig, FINDING)
    return [plot.save(fig, out / "two_labels.png")]
