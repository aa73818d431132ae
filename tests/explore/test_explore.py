"""What the explorer shows is what its code says, at every place of its controls."""

import dataclasses
import importlib.util
import pathlib
import re

import numpy as np
import pytest

import nce_bias as nb
from nce_bias._explore import State, answer, explorer
from nce_bias._explore.answer import AT_ONCE, IN_SIGHT

HERE = pathlib.Path(explorer.__file__).parent

STATES = [
    State(),
    State(m=3, share=1.0, temperature=2.0),
    State(m=2, share=0.25, temperature=0.5, power=0.75, loss="sampled_softmax"),
    State(m=2, share=0.6, sampler="without_replacement", x=1),
    State(m=4, sampler="top", loss="negative_sampling", x=1),
]


def problem(labels=6):
    rng = np.random.default_rng(2)
    population = rng.dirichlet(np.ones(labels), 2)
    popularity = rng.dirichlet(np.ones(labels))
    return nb.Problem(2 * rng.normal(size=(2, labels)), population, popularity)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.code())
def test_the_code_gives_the_numbers_that_are_shown(state):
    """The code has no mixture where a share is 0 or 1: another way to the same q."""
    asked = problem()
    shown = answer(asked, state)
    found = eval(shown.code, {"nb": nb, "problem": asked})  # ours
    for name in ("bias_norm", "cosine", "variance", "coverage", "loss"):
        assert shown.numbers[name] == pytest.approx(float(getattr(found, name)), abs=1e-12), name
    for name in ("selection", "bias"):
        whole = np.ravel(getattr(found, name))
        np.testing.assert_allclose(getattr(shown, name), whole[shown.labels], atol=1e-12)
    np.testing.assert_allclose(shown.model - shown.selection, shown.bias, atol=1e-12)


def test_every_control_changes_what_is_shown():
    """A control that is read nowhere would show the same numbers."""
    begin = State(m=2, share=0.5, temperature=2.0, power=0.5)
    others = {
        "m": 3,
        "temperature": 1.0,
        "share": 0.75,
        "power": 1.0,
        "sampler": "top",
        "loss": "ranking_nce",
        "x": 1,
    }
    assert set(others) == {field.name for field in dataclasses.fields(State)}
    asked = problem()
    before = answer(asked, begin)
    for name, value in others.items():
        after = answer(asked, dataclasses.replace(begin, **{name: value}))
        assert after.code != before.code, name
        assert after.numbers["bias_norm"] != pytest.approx(before.numbers["bias_norm"], rel=1e-6)


def test_the_most_probable_labels_are_in_sight():
    large = problem(labels=IN_SIGHT + 20)
    shown = answer(large, State(x=1))
    p = np.exp(np.asarray(large.log_model))[1]
    assert len(shown.labels) == IN_SIGHT
    assert p[shown.labels].min() >= np.delete(p, shown.labels).max()
    assert f"{IN_SIGHT} of {IN_SIGHT + 20} labels" in shown.note
    assert answer(problem(), State()).note == ""


def test_a_slow_view_says_so(monkeypatch):
    monkeypatch.setitem(AT_ONCE, "without_replacement", 5)
    assert "longer" in answer(problem(), State(sampler="without_replacement")).note
    assert "longer" not in answer(problem(), State(sampler="iid")).note


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("m", 0),
        ("temperature", 0.0),
        ("share", 1.2),
        ("power", float("nan")),
        ("sampler", "poisson"),
        ("loss", "hinge"),
        ("x", -1),
    ],
)
def test_wrong_values_of_controls_are_refused(field, value):
    with pytest.raises(ValueError, match=f"^{field}: got "):
        State(**{field: value})


def test_an_input_that_there_is_not():
    with pytest.raises(ValueError, match="x: got 2; expected 0 to 1"):
        answer(problem(), State(x=2))


# --- the widget, without a browser


def moved(widget, **controls):
    widget.controls = {**widget.controls, **controls}
    return widget.shown


def test_a_moved_slider_changes_what_is_shown():
    asked = problem()
    widget = nb.explore(asked, m=2)
    shown = moved(widget, share=1.0, m=3)
    expected = answer(asked, State(m=3, share=1.0))
    assert widget.state == State(m=3, share=1.0)
    assert shown["numbers"] == expected.numbers
    assert shown["bias"] == expected.bias.tolist()
    assert shown["code"] == expected.code
    assert shown["problem"] == "" and widget.seconds > 0


def test_what_is_refused_is_said_and_the_last_answer_stays():
    widget = nb.explore(problem(), m=2)
    before = widget.shown
    shown = moved(widget, m=99, sampler="top")
    assert "m <= V - 1" in shown["problem"]
    assert shown["numbers"] == before["numbers"]
    assert moved(widget, m=2)["problem"] == ""


def test_what_it_is_in_one_line():
    assert repr(nb.explore(problem(), m=3)).endswith(f"at {State(m=3).code()}")


def test_an_unknown_control_is_refused():
    with pytest.raises(ValueError, match="controls: got 'negatives'"):
        nb.explore(problem(), negatives=3)


def test_without_anywidget_the_message_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    explorer._widget.cache_clear()
    with pytest.raises(ImportError, match=re.escape("pip install 'nce-bias[explore]'")):
        nb.explore(problem())
    explorer._widget.cache_clear()


def test_the_script_asks_for_what_the_kernel_sends():
    """Names of numbers and of controls stand in both, and nothing is loaded from elsewhere."""
    script = (HERE / "explorer.js").read_text()
    widget = nb.explore(problem())
    numbers = re.search(r"const NUMBERS = {(.*?)};", script, re.S)
    assert numbers is not None
    assert set(re.findall(r"(\w+):", numbers[1])) <= set(widget.shown["numbers"])
    used = set(re.findall(r'(?:slider|choice)\(model, "(\w+)"', script))
    assert used == {field.name for field in dataclasses.fields(State)}
    assert set(re.findall(r"ranges\.(\w+)", script)) == set(widget.ranges)
    assert "import " not in script and "http" not in script.replace(
        "http://www.w3.org/2000/svg", ""
    )


def test_colours_are_those_of_the_figures():
    for name in ("explorer.js", "explorer.css"):
        assert not re.search(r"#[0-9a-fA-F]{3,6}\b", (HERE / name).read_text())
