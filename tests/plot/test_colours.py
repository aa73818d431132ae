"""Colours have one home: a figure of a question names them and writes no number."""

import pathlib
import re

import pytest

from nce_bias import plot

FIGURES = sorted((pathlib.Path(__file__).parents[2] / "analysis").glob("*/figure.py"))
HEX = re.compile(r"""["']#[0-9A-Fa-f]{3,8}["']""")


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.parent.name)
def test_no_figure_has_a_colour_of_its_own(path):
    assert HEX.findall(path.read_text()) == []


def test_a_colour_would_be_found():
    assert len(FIGURES) > 9 and HEX.findall("color='#0072B2'") == ["'#0072B2'"]


def test_each_kind_of_negatives_has_a_colour_and_a_marker_of_its_own():
    assert plot.COLOURS.keys() == plot.MARKERS.keys()
    kinds = set(plot.COLOURS) - {"mixed-50"}  # which is what `mixed` means
    assert len({plot.COLOURS[kind] for kind in kinds}) == len(kinds)
    assert plot.COLOURS["mixed-50"] == plot.COLOURS["mixed"]
    assert plot.COLOURS["hard"] != plot.COLOURS["model"]
    assert plot.looks(["hard", "mixed-25"])["mixed-25"].colour == plot.COLOURS["mixed-25"]
