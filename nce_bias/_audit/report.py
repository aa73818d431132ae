"""One page of an audit: words, figures and table in a file that asks for nothing else."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nce_bias._audit.result import Audit

#: A colour no figure has, in whose place the page's own text colour is put.
INK = "#010203"
MIDDLE = "#8A8A8A"

STYLE = """
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1b1b1b; --faint: #5c5c5c; --line: #d5d5d5; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14161a; --ink: #e8e8e8; --faint: #a5a5a5; --line: #3a3d44; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.2rem 1rem 3rem; background: var(--paper);
       color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p.small, footer { color: var(--faint); font-size: .87rem; }
figure { margin: 1rem 0; } figure svg { width: 100%; max-width: 34rem; height: auto; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; white-space: nowrap; text-align: right;
         border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
         background: var(--paper); }
thead th { font-weight: 600; } .spread { color: var(--faint); }
li { margin: .4rem 0; } code { font-size: .9em; }
"""

MEANING = {
    "relative": "norm of the bias over the norm of the exact gradient of cross entropy",
    "bias": "norm of the bias in score space: exact minus expected contrastive gradient",
    "cosine": "of the angle between the two gradients",
    "variance": "trace of the covariance of one example's gradient",
    "coverage": "model mass on the gold and the negatives, on average",
    "loss": "expected contrastive loss in nats",
}


def page(audit: Audit) -> str:
    """The whole page."""
    words = "".join(f"<li>{html.escape(str(remark))}</li>" for remark in audit.remarks)
    made = ", ".join(f"{name} {value}" for name, value in audit.made.items() if value)
    meaning = "; ".join(f"<b>{name}</b>: {says}" for name, says in MEANING.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Audit of contrastive losses</title><style>{STYLE}</style></head><body>
<h1>Which contrastive loss is least biased here?</h1>
<p>{html.escape(audit.problem)}: {html.escape(audit.how)}.
Cross entropy {audit.cross_entropy:.4g} nats.</p>
<h2>In words</h2><ul>{words}</ul>
<h2>Bias</h2>{_figure(audit, "relative_bias")}
<h2>Direction</h2>{_figure(audit, "cosine")}
<h2>All numbers</h2>
<p class="small">{meaning}. ± is one standard error over inputs. Binary losses have a scale of
their own: read their cosine.</p>
<div class="wide">{table(audit)}</div>
{_conventions(audit)}
<footer><p>Made by nce_bias: {html.escape(made)}.</p></footer>
</body></html>
"""


def table(audit: Audit) -> str:
    """The rows as an HTML table."""
    from nce_bias._audit.result import SHOWN, shown

    head = "".join(f"<th>{name}</th>" for name in ("convention", "m", *SHOWN, "how"))
    lines = []
    for row in audit.rows:
        numbers = "".join(f"<td>{_faint(shown(row, name))}</td>" for name in SHOWN.values())
        how = html.escape(_how(row.status, exact=row.exact, inputs=row.inputs))
        name = html.escape(", ".join(row.names))
        lines.append(f"<tr><td>{name}</td><td>{row.m}</td>{numbers}<td>{how}</td></tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _how(status: str, *, exact: bool, inputs: int) -> str:
    if not inputs:
        return status
    how = "exact" if exact else "Monte Carlo"
    return how if status == "ok" else f"{how}: {status}"


def _faint(text: str) -> str:
    value, plus, spread = text.partition(" ± ")
    return f"{value}<span class=spread> ± {spread}</span>" if plus else value


def _conventions(audit: Audit) -> str:
    """What the names mean."""
    made = {row.name: row for row in audit.rows if row.preset is not None}
    lines = []
    for name, row in sorted(made.items()):
        assert row.preset is not None
        others = f" (also {', '.join(row.names[1:])})" if row.names[1:] else ""
        words = f"{row.preset.words}. {row.preset.source}."
        lines.append(f"<li><b>{html.escape(name)}</b>{others}: {html.escape(words)}</li>")
    return f"<h2>The conventions</h2><ul>{''.join(lines)}</ul>"


def _figure(audit: Audit, column: str) -> str:
    """An SVG in the page's own text colour, as wide as the page lets it."""
    import matplotlib as mpl

    from nce_bias import plot

    frame = audit.to_frame()
    known = frame[frame[column].notna()]
    if known.empty:
        return "<p>Nothing was computed.</p>"
    lines = len(set(known["convention"]))
    fig, ax = plot.figure(width=4.6, height=0.9 + 0.22 * lines)
    audit.plot(ax, y=column)
    label = " ".join(ax.get_xlabel().split())
    _in_ink(ax)
    text, words_as_text = io.StringIO(), {"svg.fonttype": "none", "svg.hashsalt": column}
    with plot.style(), mpl.rc_context(words_as_text):  # type: ignore[arg-type]
        fig.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r' (height|width)="[0-9.]+pt"', "", svg, count=2)
    return f'<figure role="img" aria-label="{html.escape(label)}">{svg}</figure>'


def _in_ink(ax: Axes) -> None:
    """Text, ticks and frame in `INK`; what is behind the data in a grey seen on any paper."""
    from matplotlib.collections import LineCollection
    from matplotlib.text import Text

    for text in ax.findobj(Text):
        text.set_color(INK)  # type: ignore[attr-defined]
    ax.tick_params(which="both", colors=INK)
    for spine in ax.spines.values():
        spine.set_edgecolor(INK)
    ax.grid(visible=True, axis="x", color=MIDDLE, alpha=0.3)
    for lines in ax.findobj(LineCollection):
        if lines.get_linewidth()[0] < 1:  # type: ignore[attr-defined]
            lines.set_color(MIDDLE)  # type: ignore[attr-defined]
