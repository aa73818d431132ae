"""`nce_bias.plot`: what artists hold is read back; a name has one colour; text is off the data."""

import itertools
import re
import struct
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text

from nce_bias import plot
from nce_bias.plot import labels, quantities
from nce_bias.plot.style import kind, lighten

KINDS = ("uniform", "popularity", "mixed", "model", "log_uniform", "optimal")


@pytest.fixture
def ax() -> Any:
    return plot.figure(width=4)[1]


def sizes(**columns: Any) -> Any:
    """Bias at three m, rows out of order, for two kinds of negatives."""
    return pd.DataFrame(
        {
            "m": [16, 1, 4, 16, 1, 4],
            "bias_norm": [0.1, 0.3, 0.2, 0.6, 0.4, 0.5],
            "negatives": ["uniform"] * 3 + ["model"] * 3,
        }
        | columns
    )


def data(line: Any) -> Any:
    return list(line.get_xdata()), list(line.get_ydata())


def edges(band):
    """Lower and upper edge of a band, by x."""
    (path,) = band.get_paths()
    x, y = path.vertices.T
    return {float(at): (y[x == at].min(), y[x == at].max()) for at in np.unique(x)}


# --- lines and bands


def test_a_curve_is_its_rows_in_the_order_of_x(ax):
    drawn = plot.curves(sizes(), x="m", y="bias_norm", ax=ax)
    assert data(drawn.lines["uniform"]) == ([1, 4, 16], [0.3, 0.2, 0.1])
    assert data(drawn.lines["model"]) == ([1, 4, 16], [0.4, 0.5, 0.6])
    assert list(ax.lines) == list(drawn.lines.values())


def test_a_nan_leaves_a_gap(ax):
    table = sizes(bias_norm=[0.1, 0.3, np.nan, 0.6, 0.4, 0.5])
    line = plot.curves(table, x="m", y="bias_norm", ax=ax).lines["uniform"]
    assert np.isnan(data(line)[1]).tolist() == [False, True, False]


def test_spread_is_drawn_both_ways_around_the_line(ax):
    table = sizes(se=[0.01, 0.03, 0.02, np.nan, np.nan, np.nan])
    drawn = plot.curves(table, x="m", y="bias_norm", spread="se", ax=ax)
    assert list(drawn.bands) == ["uniform"]  # the other one is exact
    # exactly the two sums, as floats
    assert edges(drawn.bands["uniform"]) == {
        1: (0.3 - 0.03, 0.3 + 0.03),
        4: (0.2 - 0.02, 0.2 + 0.02),
        16: (0.1 - 0.01, 0.1 + 0.01),
    }


def runs() -> Any:
    return pd.DataFrame(
        {
            "step": [1, 2] * 3,
            "bias_norm": [3.0, 2.0, 5.0, 1.0, 4.0, 6.0],
            "seed": [7, 7, 8, 8, 9, 9],
            "negatives": "model",
        }
    )


def test_band_covers_all_repetitions_and_the_line_is_the_first(ax):
    drawn = plot.curves(runs(), x="step", y="bias_norm", band="seed", ax=ax)
    assert data(drawn.lines["model"]) == ([1, 2], [3.0, 2.0])
    assert edges(drawn.bands["model"]) == {1: (3.0, 5.0), 2: (1.0, 6.0)}


def test_bold_chooses_the_repetition(ax):
    drawn = plot.curves(runs(), x="step", y="bias_norm", band="seed", bold=9, ax=ax)
    assert data(drawn.lines["model"]) == ([1, 2], [4.0, 6.0])
    with pytest.raises(ValueError, match=re.escape("'model' has no row with seed = 3")) as refused:
        plot.curves(runs(), x="step", y="bias_norm", band="seed", bold=3, ax=ax)
    assert str(refused.value) == (
        "bold: 'model' has no row with seed = 3; expected one of [7, 8, 9]."
    )


def test_published_points_are_hollow_and_unconnected_in_the_same_colour(ax):
    lines: Any = plot.curves(sizes(), x="m", y="bias_norm", ax=ax).lines
    marks: Any = plot.points(sizes(), x="m", y="bias_norm", ax=ax)
    for name, mark in marks.items():
        assert mark.get_linestyle() == "None"
        assert to_hex(mark.get_markerfacecolor()) == "#ffffff"
        assert mark.get_markeredgecolor() == lines[name].get_color()
        assert sorted(mark.get_ydata()) == sorted(lines[name].get_ydata())


def test_limits_are_dashed_across_the_axes(ax):
    table = pd.DataFrame({"negatives": ["model", "uniform"], "bias_norm": [0.25, 0.5]})
    found: Any = plot.limits(table, y="bias_norm", ax=ax)
    assert {name: line.get_ydata()[0] for name, line in found.items()} == {
        "model": 0.25,
        "uniform": 0.5,
    }
    assert all(line.is_dashed() for line in found.values())
    assert all(list(line.get_xdata()) == [0, 1] for line in found.values())  # of the axes


def test_a_limit_of_zero_has_no_place_on_a_logarithmic_axis(ax):
    table = pd.DataFrame({"negatives": ["model", "uniform"], "bias_norm": [0.25, 0.0]})
    assert list(plot.limits(table, y="bias_norm", ax=ax)) == ["model", "uniform"]
    ax.set_yscale("log")
    assert list(plot.limits(table, y="bias_norm", ax=ax)) == ["model"]


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            sizes().drop(columns="bias_norm"),
            {},
            "table: it has no column 'bias_norm', only 'm', 'negatives'. Rename a column or name "
            "another one.",
        ),
        (sizes().head(0), {}, "table: it has no rows. Check the filter that made it."),
        (
            pd.concat([sizes(), sizes()]),
            {},
            "table: 'uniform' has more than one 'bias_norm' at m = 1. Filter the table to one "
            "curve for each group, or name the repetitions by band=.",
        ),
        (
            sizes(),
            {"spread": "a", "band": "b"},
            "spread, band: got both 'a' and 'b'; expected one of them. Draw two sets of curves "
            "for two kinds of band.",
        ),
    ],
)
def test_tables_refused(table, options, message, ax):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot.curves(table, x="m", y="bias_norm", ax=ax, **options)
    assert not ax.lines


# --- looks


@pytest.mark.parametrize("order", [("uniform", "model"), ("model", "uniform"), ("model",)])
def test_a_kind_has_its_colour_whatever_else_is_drawn(order, ax):
    table = pd.concat([sizes()[sizes()["negatives"] == name] for name in order])
    drawn = plot.curves(table, x="m", y="bias_norm", ax=ax)
    for name in order:
        assert drawn.lines[name].get_color() == plot.COLOURS[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model", "model"),
        ("model:T=2", "model"),
        ("model(temperature=2)", "model"),
        ("model, infonce", "model"),
        ("mixture(uniform, model, share=0.5)", "mixed"),
        ("0.5*uniform+0.5*model", "mixed"),
        ("hard", "hard"),
        ("random", "uniform"),
        ("uniformly_mine", None),
    ],
)
def test_kind_of_a_name(name, expected):
    assert kind(name) == expected


def test_looks_differ_within_a_kind_and_between_own_negatives():
    found = plot.looks(["model", "mine", "model:T=2", "model:T=4", "yours", "mine"])
    assert list(found) == ["model", "mine", "model:T=2", "model:T=4", "yours"]
    assert found["model"].colour == plot.COLOURS["model"]
    assert len({look.colour for look in found.values()}) == 5
    assert found["model"].dashes == "-" != found["model:T=2"].dashes
    assert found["mine"].colour not in plot.COLOURS.values()
    assert lighten("#000000", 0.5) == "#808080"


# Machado, Oliveira & Fernandes (2009), severity 1.0, on linear RGB; their table 1.
VISIONS = {
    "full": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def _lab(colour, vision):
    """CIE L*a*b* (D65) of an sRGB colour as seen with `vision`."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(vision) @ linear, 0, 1)
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ seen
        / [0.9505, 1.0, 1.089]
    )
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _closest(colours, vision):
    seen = [_lab(colour, vision) for colour in colours]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_stay_apart_without_colour_vision(vision):
    # Two colours 2.3 apart in L*a*b* are just told apart side by side; 10 is told apart anywhere.
    assert _closest([plot.COLOURS[name] for name in KINDS], VISIONS[vision]) > 10


def test_the_colour_test_rejects_red_and_green():
    pair = ["#a05000", "#507800"]
    assert _closest(pair, VISIONS["full"]) > 10 > _closest(pair, VISIONS["deuteranopia"])


def test_markers_say_the_same_without_colour():
    assert len({plot.MARKERS[name] for name in KINDS}) == len(KINDS)


# --- the library's quantities


def test_bias_against_m(ax):
    limit = pd.DataFrame({"negatives": ["model"], "bias_norm": [0.7]})
    drawn = plot.bias_against_m(sizes(), limit=limit, title="Hard grow", ax=ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_title(loc="left") == "Hard grow"
    assert ax.get_xlabel() == "negatives per example, $m$"
    assert drawn.limits["model"].get_color() == drawn.lines["model"].get_color()
    assert data(drawn.lines["model"]) == ([1, 4, 16], [0.4, 0.5, 0.6])


def test_a_negative_estimate_is_kept_and_falls_off_the_logarithmic_axis(ax):
    table = sizes(bias_norm=[-0.1, 0.3, 0.2, 0.6, 0.4, 0.5])
    drawn = plot.bias_against_m(table, ax=ax)
    assert data(drawn.lines["uniform"])[1] == [0.3, 0.2, -0.1]
    assert ax.get_ylim()[0] > 0


def test_bias_against_step(ax):
    drawn = plot.bias_against_step(runs(), published=runs().head(2), band="seed", ax=ax)
    assert data(drawn.points["model"]) == ([1, 2], [3.0, 2.0])
    assert edges(drawn.bands["model"])[1] == (3.0, 5.0)
    assert ax.get_ylabel() == quantities.PARAMETER_SPACE
    assert ax.get_yscale() == "log"


def test_loss_against_step(ax):
    table = pd.DataFrame(
        {
            "step": [1, 2, 1, 2],
            "loss": [3, 2, 1, 0.5],
            "negatives": ["cross_entropy"] * 2 + ["model"] * 2,
        }
    )
    drawn = plot.loss_against_step(table, entropy=0.8, published=table, ax=ax)
    assert ax.get_ylabel() == "loss (nats)"
    assert data(drawn.limits["entropy"]) == ([0, 1], [0.8, 0.8])
    assert drawn.lines["cross_entropy"].get_label() == "cross entropy"
    assert list(drawn.points) == ["cross_entropy", "model"]


def comparison(ms=(1, 4), losses=("infonce",), **columns: Any) -> Any:
    rows = list(itertools.product(("uniform", "model:T=2"), losses, ms))
    table = pd.DataFrame(rows, columns=["negatives", "loss_name", "m"])
    return table.assign(bias_norm=np.arange(1.0, len(rows) + 1), **columns)


def test_compare_with_several_m_is_a_curve_for_each_negatives(ax):
    drawn = plot.compare(comparison(bias_norm_se=[0.1, 0.2, np.nan, np.nan]), ax=ax)
    assert data(drawn.lines["uniform"]) == ([1, 4], [1, 2])
    assert data(drawn.lines["model:T=2"]) == ([1, 4], [3, 4])
    assert edges(drawn.bands["uniform"]) == {1: (0.9, 1.1), 4: (1.8, 2.2)}
    assert "model:T=2" not in drawn.bands


def test_compare_tells_losses_apart_by_dashes(ax):
    drawn = plot.compare(comparison(losses=("infonce", "ranking_nce")), ax=ax)
    one, other = drawn.lines["uniform, infonce"], drawn.lines["uniform, ranking_nce"]
    assert one.get_color() == other.get_color() == plot.COLOURS["uniform"]
    assert (one.is_dashed(), other.is_dashed()) == (False, True)


def test_compare_with_one_m_is_a_row_for_each_negatives(ax):
    drawn = plot.compare(comparison(ms=(4,), bias_norm_se=[0.25, np.nan]), ax=ax)
    assert data(drawn.points["uniform"]) == ([1.0], [0])
    assert data(drawn.points["model:T=2"]) == ([2.0], [1])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["uniform", "model:T=2"]
    assert ax.yaxis_inverted()  # the first is at the top
    (bar,) = ax.collections
    assert bar.get_segments()[0][:, 0].tolist() == [0.75, 1.25]
    assert ax.get_title(loc="left") == "m = 4"


# --- text off the data


def heights(count, low=0.0, high=1.0):
    return st.lists(st.floats(low, high), min_size=1, max_size=count)


@given(heights(6), st.floats(0.0, 0.15))
def test_spread_apart_keeps_distance_order_and_the_axes(values, gap):
    placed = labels.spread_apart(values, gap)
    order = np.argsort(values, kind="stable")
    # 1e-12: rounding of sums of numbers below 1
    assert (np.diff(placed[order]) >= gap - 1e-12).all()
    assert placed.min() >= -1e-12
    assert placed.max() <= 1 + 1e-12


@given(heights(4, 0.3, 0.7), st.floats(0.01, 0.1))
def test_spread_apart_moves_no_more_than_needed(values, gap):
    # Of all placements that keep the distance, none near the answer is closer to the heights.
    placed = labels.spread_apart(values, gap)
    cost = np.sum((placed - values) ** 2)
    order = np.argsort(values, kind="stable")
    for move in itertools.product((-0.01, 0.0, 0.01), repeat=len(values)):
        other = placed + np.array(move)
        if (np.diff(other[order]) >= gap - 1e-15).all():
            assert np.sum((other - values) ** 2) >= cost - 1e-12


def test_spread_apart_leaves_what_is_apart_and_shares_what_does_not_fit():
    assert labels.spread_apart([0.1, 0.9, 0.5], 0.2).tolist() == [0.1, 0.9, 0.5]
    assert labels.spread_apart([0.5, 0.5, 0.5], 9.0).tolist() == [0.0, 0.5, 1.0]


def test_direct_labels_are_right_of_the_axes_and_apart():
    fig, ax = plot.figure(width=5)
    table = pd.concat(
        sizes(bias_norm=[0.1, 0.3, 0.2 + k * 1e-3] * 2, negatives=[name] * 6).head(3)
        for k, name in enumerate(KINDS)
    )
    drawn = plot.bias_against_m(table, ax=ax)  # all end at one point
    found = plot.direct_labels(drawn.lines, {"optimal": "best"})
    fig.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in found.values()]  # without the connector
    assert [text.get_text() for text in found.values()][-1] == "best"
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(text.xy == (16, 0.1) for text in found.values())  # connectors lead there
    assert all(found[name].get_color() == plot.COLOURS[name] for name in KINDS)
    assert min(box.x0 for box in boxes) > ax.get_window_extent().x1
    assert max(box.x1 for box in boxes) <= fig.bbox.x1  # inside the paper


def test_direct_labels_of_nothing():
    assert plot.direct_labels({}) == {}


def test_legends_cover_no_data():
    fig, (left, right) = plot.figure(1, 2)
    for panel in (left, right):
        drawn = plot.bias_against_m(sizes(), ax=panel)
    beside, below = plot.legend(right), plot.legend(fig, drawn.lines)
    fig.draw_without_rendering()
    for panel, legend in itertools.product((left, right), (beside, below)):
        assert not panel.get_window_extent().overlaps(legend.get_window_extent())
    assert [text.get_text() for text in below.get_texts()] == ["uniform", "model"]


# --- files and global state


def test_the_global_style_is_left_alone(tmp_path):
    before = dict(mpl.rcParams)
    fig, ax = plot.figure()
    drawn = plot.bias_against_m(sizes(), ax=ax)
    plot.direct_labels(drawn.lines)
    plot.legend(fig)
    plot.save(fig, tmp_path / "a.png")
    assert dict(mpl.rcParams) == before
    with plot.style():
        assert mpl.rcParams["font.size"] == plot.STYLE["font.size"] != before["font.size"]


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_same_figure_is_the_same_bytes(suffix, tmp_path):
    for name in ("a", "b"):
        fig, ax = plot.figure(width=3)
        plot.direct_labels(plot.bias_against_m(sizes(), ax=ax).lines)
        plot.save(fig, tmp_path / "folder" / f"{name}{suffix}")
    a, b = (tmp_path / "folder" / f"{name}{suffix}" for name in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()
    assert b"Matplotlib" not in a.read_bytes()


def test_png_has_200_dots_per_inch(tmp_path):
    fig, _ = plot.figure(width=3, height=2)
    content = plot.save(fig, tmp_path / "a.png").read_bytes()
    assert struct.unpack(">II", content[16:24]) == (600, 400)


def test_other_formats_are_refused(tmp_path):
    fig, _ = plot.figure()
    with pytest.raises(ValueError, match="path") as refused:
        plot.save(fig, tmp_path / "a.bmp")
    assert str(refused.value) == (
        "path: got 'a.bmp'; expected a name that ends in .png, .pdf, .svg, .pgf. The suffix "
        "chooses the format."
    )


def test_without_axes_the_current_ones_are_used():
    from matplotlib import pyplot

    fig, ax = pyplot.subplots()
    try:
        assert plot.curves(sizes(), x="m", y="bias_norm").ax is ax
    finally:
        pyplot.close(fig)


def test_figures_need_no_pyplot():
    program = (
        "import sys; from nce_bias import plot; fig, ax = plot.figure(); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
