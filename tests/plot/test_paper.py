"""Figures for a column, and tables for a page."""

import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from nce_bias import plot


def drawn(tmp_path, suffix=".pdf", **options):
    """A figure made and saved for a paper."""
    table = pd.DataFrame({"m": [1, 4, 16], "bias_norm": [0.3, 0.2, 0.1], "negatives": "uniform"})
    with plot.for_paper(**options):
        fig, ax = plot.figure()
        lines = plot.bias_against_m(table, ax=ax, title="More negatives, less bias").lines
        plot.direct_labels(lines)
        return fig, plot.save(fig, tmp_path / f"figure{suffix}").read_bytes()


@pytest.mark.parametrize("venue", plot.VENUES)
@pytest.mark.parametrize(("columns", "place"), [("single", 0), ("double", 1)])
def test_figures_have_the_width_of_the_column(venue, columns, place):
    with plot.for_paper(columns, venue=venue):
        fig, _ = plot.figure()
    assert fig.get_figwidth() == plot.VENUES[venue][place]


def test_the_file_has_the_width_of_the_column(tmp_path):
    """In points of 1/72 inch, as a PDF says it."""
    _, content = drawn(tmp_path, columns="single", venue="acl")
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", content)
    assert box is not None
    assert float(box[1]) == pytest.approx(72 * plot.VENUES["acl"][0], abs=0.01)


def test_no_type_is_smaller_than_six_points_and_none_is_type_3(tmp_path):
    fig, content = drawn(tmp_path)
    texts: list[Any] = fig.findobj(Text)
    sizes = [text.get_fontsize() for text in texts if text.get_text()]
    assert min(sizes) >= 6
    assert b"/Type3" not in content
    outside, ax = plot.figure()
    ax.set_title("as ever")
    assert b"/Type3" in plot.save(outside, tmp_path / "outside.pdf").read_bytes()


def test_letters_of_an_svg_stay_letters(tmp_path):
    assert b"More negatives, less bias" in drawn(tmp_path, ".svg")[1]


def test_serif():
    with plot.for_paper(serif=True), plot.style():
        assert mpl.rcParams["font.family"] == ["serif"]


def test_the_block_ends():
    before = dict(mpl.rcParams)
    with pytest.raises(RuntimeError), plot.for_paper("double"):
        raise RuntimeError
    assert plot.figure()[0].get_figwidth() == plot.figure()[0].get_figwidth() == 6.75
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("options", "words"), [({"columns": "triple"}, "columns: "), ({"venue": "nips"}, "venue: ")]
)
def test_unknown_columns_and_venues_are_refused(options, words):
    with pytest.raises(ValueError, match=words), plot.for_paper(**options):
        pass


def test_pgf_without_latex_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="LaTeX"):
        drawn(tmp_path, ".pgf")


# --- tables

FRAME = pd.DataFrame(
    {
        "negatives": ["uniform", "a_b & c|d"],
        "m": [4, 65536],
        "bias_norm": [0.123456, -3.2e-7],
        "loss": [1.5, np.nan],
        "loss_error": [0.0123, np.nan],
    }
)


def test_latex():
    assert plot.table(FRAME, errors={"loss": "loss_error"}).splitlines() == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"negatives & m & bias norm & loss \\",
        r"\midrule",
        r"uniform & 4 & 0.123 & $1.500 \pm 0.012$ \\",
        r"a\_b \& c|d & 65{,}536 & $-3.2 \times 10^{-7}$ & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_markdown():
    text = plot.table(FRAME, "markdown", names={"m": "negatives, m"})
    assert text.splitlines() == [
        "| negatives | negatives, m | bias norm | loss | loss error |",
        "| :-- | --: | --: | --: | --: |",
        "| uniform | 4 | 0.123 | 1.5 | 0.0123 |",
        r"| a_b & c\|d | 65,536 | -3.2e-7 | – | – |",
    ]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (123.456, 12.3, "123 ± 12"),
        (123.456, 9.96, "123 ± 10"),  # two digits of an error that is rounded up
        (0.5, 0.00099, "0.50000 ± 0.00099"),
        (0.5, 0.0, "0.5"),
    ],
)
def test_places_follow_from_the_error(value, error, text):
    frame = pd.DataFrame({"x": [value], "e": [error]})
    assert plot.table(frame, "markdown", errors={"x": "e"}).splitlines()[2] == f"| {text} |"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "html"}, "to: got 'html'"),
        ({"errors": {"loss": "sd"}}, "no column 'sd'"),
        ({"names": {"gone": "x"}}, "no column 'gone'"),
    ],
)
def test_wrong_questions_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        plot.table(FRAME, **options)
