"""`analysis/limits`: its formula against the exact engine, its page and figure against results."""

import pathlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.limits import figure as figure
from analysis.limits import run as limits

RESULTS = pathlib.Path(limits.__file__).parent / "results"
PAGE = pathlib.Path(limits.__file__).parent / "README.md"
SCORES = np.array([1.0, 0.0, -1.0])
POPULATION = np.array([0.5, 0.2, 0.3])
Q = np.array([0.2, 0.7, 0.1])
ZERO = 1e-13  # ten times the error that the results carry


def read(name: str) -> Any:
    return pd.read_csv(RESULTS / f"{name}.csv")


def at(bias: Any, **place: Any) -> Any:
    for column, value in place.items():
        bias = bias[bias[column] == value]
    return bias.set_index("m")["bias_norm"]


# --- the formula


def test_limits_by_hand():
    # Two labels: p = (3/4, 1/4), pop = (1/2, 1/2), q uniform.
    scores, population, q = np.log([3.0, 1.0]), np.array([0.5, 0.5]), np.array([0.5, 0.5])

    def at(**options):
        return limits.limit(scores, population, q, **options).tolist()

    assert at(corrected=False, hits="keep") == pytest.approx([3 / 4, 1 / 4], rel=1e-15)
    # The other label is all there is to draw.
    assert at(corrected=False, hits="exclude") == pytest.approx([1 / 2, 1 / 2], rel=1e-15)
    assert at(corrected=True, hits="exclude") == pytest.approx([3 / 4, 1 / 4], rel=1e-15)
    # Gold 0: (2 3/4, 1/4) / (7/4); gold 1: (3/4, 2 1/4) / (5/4).
    kept = [(6 / 7 + 3 / 5) / 2, (1 / 7 + 2 / 5) / 2]
    assert at(corrected=True, hits="keep") == pytest.approx(kept, rel=1e-15)


@pytest.mark.parametrize("hits", limits.HITS)
@pytest.mark.parametrize("loss", limits.LOSSES, ids=lambda loss: loss.name)
def test_the_exact_engine_tends_to_the_limit(loss, hits):
    problem = nb.Problem(SCORES, POPULATION)
    sampler = nb.iid(nb.from_probabilities(Q), 10**6, hits=hits)
    found = np.asarray(nb.exact(problem, sampler, loss).selection)
    corrected = loss is nb.sampled_softmax
    expected = limits.limit(SCORES, POPULATION, Q, corrected=corrected, hits=hits)
    # The distance is of order 1/m; the other formulas are 0.01 and more away.
    assert found == pytest.approx(expected, abs=2e-5)
    for other in [
        (c, h) for c in (True, False) for h in limits.HITS if (c, h) != (corrected, hits)
    ]:
        wrong = limits.limit(SCORES, POPULATION, Q, corrected=other[0], hits=other[1])
        assert np.abs(found - wrong).max() > 0.01


# --- results and page


def test_results_are_complete_and_exact():
    bias = read("bias")
    assert len(bias) == 2 * 2 * 4 * len(limits.FULL.sizes)
    assert (bias["status"] == "ok").all()
    assert bias["error"].max() < ZERO


def test_every_curve_approaches_its_limit():
    bias = read("bias")
    for row in read("limits").itertuples():
        place = {
            "negatives": row.negatives,
            "loss_name": row.loss_name,
            "hits": row.hits,
        }
        left = (at(bias, **place) - row.bias_norm).abs()
        # Of order 1/m: a fourth from 1024 to 4096; half is asked, as higher orders are still there.
        assert left[4096] <= max(left[1024] / 2, ZERO), place


def shown(value):
    return "0" if value < ZERO else f"{value:.2g}"


def test_table_of_the_page():
    bias = read("bias")
    expected = []
    for row in read("limits").itertuples():
        curve = at(bias, negatives=row.negatives, loss_name=row.loss_name, hits=row.hits)
        values = [*(curve[m] for m in (1, 64, 4096)), row.bias_norm]
        cells = [row.loss_name, row.hits, row.negatives, *map(shown, values)]
        expected.append(f"| {' | '.join(cells)} |")
    found = re.findall(r"^\| (?:infonce|sampled_softmax) .*$", PAGE.read_text(), re.MULTILINE)
    assert found == expected


def test_sentences_of_the_page():
    bias = read("bias")
    kept = read("limits").set_index(["loss_name", "hits", "negatives"])["bias_norm"]

    def curve(loss, hits, kind):
        return at(bias, loss_name=loss, hits=hits, negatives=kind)

    for hits in limits.HITS:
        for kind in ("popularity", "mixed", "model"):
            growing = curve("infonce", hits, kind)
            assert growing[4096] > growing[1]  # "bias grows with m"
            # "reaches its limit by a few hundred draws"
            assert growing[256] == pytest.approx(kept["infonce", hits, kind], rel=0.05)
        # "three quarters of the limit bias of model negatives"
        ratio = kept["infonce", hits, "mixed"] / kept["infonce", hits, "model"]
        assert ratio == pytest.approx(0.75, abs=0.01)
    corrected = {kind: curve("sampled_softmax", "exclude", kind) for kind in limits.KINDS}
    assert corrected["model"].max() < ZERO  # "no bias at any m"
    # "a factor of ten below popularity"
    assert corrected["popularity"][4096] / corrected["mixed"][4096] == pytest.approx(10, abs=0.5)
    worst = pd.DataFrame(corrected).idxmax(axis=1)
    assert (worst[worst.index <= 4] == "popularity").all()
    assert (worst[worst.index >= 8] == "uniform").all()
    assert curve("infonce", "exclude", "uniform").idxmin() == 1024  # "a minimum near m = 1024"
    from_the_first = curve("sampled_softmax", "keep", "model")
    assert from_the_first.to_numpy() == pytest.approx(
        kept["sampled_softmax", "keep", "model"], abs=ZERO
    )


# --- figure


@pytest.fixture(scope="module")
def panels():
    """The figure of the committed results, not its file."""
    drawn: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure.plot, "save", lambda fig, path: drawn.append(fig) or path)
        assert figure.draw(RESULTS, pathlib.Path("out")) == [pathlib.Path("out/limits.png")]
    return dict(zip(figure.PANELS, drawn[0].axes, strict=True))


@pytest.mark.slow
def test_the_figure_shows_every_number(panels):
    bias = read("bias")
    for (loss, hits), ax in panels.items():
        for kind in limits.KINDS:
            (line,) = [x for x in ax.lines if x.get_label() == kind]
            curve = at(bias, loss_name=loss, hits=hits, negatives=kind)
            assert line.get_xdata().tolist() == curve.index.tolist()
            assert line.get_ydata().tolist() == curve.tolist()


def test_titles_of_the_panels_say_what_the_limits_are(panels):
    limit = read("limits").set_index(["loss_name", "hits", "negatives"])["bias_norm"]

    def zero(*place):
        return {kind for kind in limits.KINDS if limit[(*place, kind)] < ZERO}

    title = {place: ax.get_title(loc="left") for place, ax in panels.items()}
    assert "all keep a bias" in title["infonce", "exclude"]
    assert zero("infonce", "exclude") == set()
    assert "only uniform goes to 0" in title["infonce", "keep"]
    assert zero("infonce", "keep") == {"uniform"}
    assert "all go to 0" in title["sampled_softmax", "exclude"]
    assert zero("sampled_softmax", "exclude") == set(limits.KINDS)
    assert "all end at one bias" in title["sampled_softmax", "keep"]
    assert len({f"{limit['sampled_softmax', 'keep', kind]:.12g}" for kind in limits.KINDS}) == 1


def test_zero_is_said_where_it_cannot_be_drawn(panels):
    said = {place: [text.get_text() for text in ax.texts] for place, ax in panels.items()}
    assert "model: 0 at every $m$" in said["sampled_softmax", "exclude"]
    for place, texts in said.items():
        named = {text.split(":")[0] for text in texts}
        assert named >= set(limits.KINDS), place  # each curve is named once, on the panel


@pytest.mark.slow
def test_run_and_draw_small(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "QUICK", limits.Design(20, sizes=(2,), quick=True))
    limits.run(tmp_path / "results", quick=True)
    written = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert written == ["bias.csv", "limits.csv", "meta.json"]
    assert len(pd.read_csv(tmp_path / "results" / "bias.csv")) == 16
    (png,) = figure.draw(tmp_path / "results", tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
