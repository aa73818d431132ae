"""Sweeps: each cell is what the engine says, in order; failures, interrupts, compilations."""

import multiprocessing
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from nce_bias import _progress
from nce_bias._sweep import grid
from nce_bias.engine import plan
from tests import cases

KEY = jax.random.key(0)
PROBLEM = cases.problem()
NEGATIVES = {
    "uniform": lambda m: nb.iid(nb.uniform(), m),
    "popular": nb.iid(nb.popularity(), 3, hits="mask"),
}
#: What a sweep adds to a row of `Moments.to_frame`, and what no two runs share.
ADDED = ["problem", "negatives", "m", "seconds", "dtype", "version", "commit", "jax", "backend"]


COMPILED: list[str] = []


def noted(event: str, duration_secs: float, **kwargs: Any) -> None:
    if "backend_compile" in event:
        COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(noted)


@pytest.fixture(scope="module")
def plain():
    return swept()


def swept(**options: Any) -> pd.DataFrame:
    return nb.sweep(
        {"a": PROBLEM}, NEGATIVES, ("infonce", nb.sampled_softmax), ms=[2, 5], **options
    )


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found.drop(columns="seconds"), expected.drop(columns="seconds"), check_exact=True
    )


# --- the table


def test_a_row_for_each_cell_with_what_the_engine_says(plain):
    rows = plain.to_dict("records")
    cells = [("uniform", 2), ("uniform", 5), ("popular", 3)]
    assert [(row["negatives"], row["m"], row["loss_name"]) for row in rows] == [
        (*cell, loss) for cell in cells for loss in ("infonce", "sampled_softmax")
    ]
    samplers = [nb.iid(nb.uniform(), 2), nb.iid(nb.uniform(), 5), NEGATIVES["popular"]]
    for place, row in enumerate(rows):
        loss = (nb.infonce, nb.sampled_softmax)[place % 2]
        expected = nb.exact(PROBLEM, samplers[place // 2], loss).to_frame().to_dict("records")[0]
        assert {name: row[name] for name in row if name not in ADDED} == expected
        assert row["seconds"] > 0
        assert row["dtype"] == "float64"
        assert row["jax"] == jax.__version__
    assert len({row["bias_norm"] for row in rows}) == 6
    assert plain.attrs["failed"] == []


def test_names_of_what_has_none():
    found = nb.sweep([PROBLEM, PROBLEM], nb.iid(nb.uniform(), 2), nb.infonce, progress=False)
    assert list(found["problem"]) == ["0", "1"]
    assert set(found["negatives"]) == {"iid(uniform, m=2)"}
    assert found["m"].dtype == int


@pytest.mark.slow
def test_monte_carlo_cells_have_keys_of_their_own():
    found: Any = swept(method="monte_carlo", key=KEY, draws=100)
    for cell, loss in ((2, nb.infonce), (3, nb.sampled_softmax)):
        expected = nb.monte_carlo(
            PROBLEM, nb.iid(nb.uniform(), 5), loss, key=jax.random.fold_in(KEY, cell), draws=100
        )
        assert found["bias_norm"][cell] == float(expected.bias_norm)
        assert found["bias_norm_se"][cell] == float(expected.standard_errors["bias_norm"])
    twice: Any = nb.sweep(
        [PROBLEM, PROBLEM], NEGATIVES["popular"], method="monte_carlo", key=KEY, draws=100
    )
    assert twice["bias_norm"][0] != twice["bias_norm"][1]


def test_the_plot_takes_it(plain):
    drawn = nb.plot.compare(plain)
    assert len(drawn.lines) + len(drawn.points) > 0


# --- compilation


@pytest.fixture
def large(monkeypatch):
    """Small problems are answered without compiling: here none is small."""
    monkeypatch.setattr(plan, "MOST_TERMS", 0)


def compiled(samplers: Any, sizes: Any) -> int:
    before = len(COMPILED)
    nb.sweep(PROBLEM, samplers, ms=sizes)
    return len(COMPILED) - before


def halved(scores, popularity):
    return 0.5 * scores


@pytest.mark.slow
def test_one_compilation_for_many_m(large):
    samplers = {"q": lambda m: nb.iid(halved, m), "sum": lambda m: nb.top(1) + nb.iid(halved, m)}
    assert compiled(samplers, [20, 40]) > 1  # two sizes of the quadrature between them
    assert compiled(samplers, range(21, 40)) == 0


def test_a_proposal_made_anew_compiles_anew(large):
    """The twin: what the notes warn of."""
    samplers = {"q": lambda m: nb.iid(lambda s, p: halved(s, p), m)}
    for sizes in ([20], [20], [21, 22]):
        assert compiled(samplers, sizes) >= len(sizes)


def test_a_small_problem_compiles_nothing():
    """The functions themselves are compiled once each, in the tests above."""
    samplers = {"q": lambda m: nb.iid(nb.popularity(), m), "top": nb.top}
    compiled(samplers, [2])
    assert compiled(samplers, [3, 4]) == 0


# --- executors


class Backwards(Executor):
    """Runs what it is given in a thread, the last first."""

    def __init__(self) -> None:
        self.given: list[tuple[Future, Any]] = []

    def submit(self, fn, /, *args, **kwargs):
        self.given.append((Future(), fn))
        if len(self.given) == 6:
            threading.Thread(target=self.run).start()
        return self.given[-1][0]

    def run(self):
        for future, function in reversed(self.given):
            future.set_result(function())


def test_the_order_of_completion_does_not_show(plain):
    same(swept(executor=Backwards()), plain)
    with ThreadPoolExecutor(2) as threads:
        same(swept(executor=threads), plain)
        options: Any = dict(method="monte_carlo", key=KEY, draws=100)
        same(swept(executor=threads, **options), swept(**options))


def test_processes_compute_in_the_precision_of_the_caller(plain):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as processes:
        found = nb.sweep(
            {"a": PROBLEM},
            {"popular": NEGATIVES["popular"]},
            executor=processes,
        )
        with pytest.warns(UserWarning, match="1 of 1 cells failed"):
            lost = nb.sweep(PROBLEM, nb.iid(lambda s, p: s, 2), executor=processes)
    same(found, plain.iloc[[4]].reset_index(drop=True))
    (status,) = lost["status"]
    assert status.startswith("failed: ") and "lambda" in status and "pickle" in status
    assert status.endswith(
        ". Define it by name at the top of a module, or use a ThreadPoolExecutor"
    )


# --- failures


TOO_MANY = (
    "m: top(m=9) asks for 9 distinct wrong labels of 5 labels; expected m <= V - 1 = 4. "
    "Lower m, or draw with replacement by nb.iid."
)
NO_M = "m: got 0; expected a whole number >= 1. Pass m=1."


def test_failed_cells_keep_the_others(plain):
    def torn(scores, popularity):
        raise RuntimeError("the disk\nis full")

    samplers = {
        "many": lambda m: nb.top(9),
        "none": lambda m: nb.iid(nb.uniform(), m - 2),
        "popular": NEGATIVES["popular"],
        "torn": nb.iid(torn, 2),
    }
    with pytest.warns(UserWarning) as caught:
        found = nb.sweep({"a": PROBLEM}, samplers, ms=[2])
    assert [str(one.message) for one in caught] == [
        "sweep: 3 of 4 cells failed; the others are complete. See the column status. The first, "
        f"in row 0: {TOO_MANY}"
    ]
    assert found.attrs["failed"] == [
        (0, TOO_MANY),
        (1, NO_M),
        (3, "RuntimeError: the disk is full"),
    ]
    assert list(found["status"]) == [
        f"failed: {TOO_MANY}",
        f"failed: {NO_M}",
        "ok",
        "failed: RuntimeError: the disk is full",
    ]
    assert list(found["sampler"][:2]) == ["top(m=9)", "none"]
    assert np.isnan(found["bias_norm"]).tolist() == [True, True, False, True]
    assert found["bias_norm"][2] == plain["bias_norm"][4]


@pytest.mark.parametrize("threads", [False, True])
def test_an_interrupt_keeps_what_is_done(threads, plain):
    def interrupting(scores, popularity):
        raise KeyboardInterrupt

    samplers = {
        "popular": NEGATIVES["popular"],
        "stop": nb.iid(interrupting, 2),
        "later": nb.iid(nb.uniform(), 2),
    }
    executor = ThreadPoolExecutor(1) if threads else None
    with pytest.warns(UserWarning) as caught:
        found = nb.sweep({"a": PROBLEM}, samplers, executor=executor)
    assert found["bias_norm"][0] == plain["bias_norm"][4]
    status = list(found["status"])
    assert status[1] == "not run: interrupted"
    assert np.isnan(found["bias_norm"][1])
    done = status.count("ok")  # a thread may have been ahead
    assert done == 1 or threads
    assert [str(one.message) for one in caught] == [
        f"sweep: interrupted after {done} of 3 cells, which are kept; the others have the status "
        "'not run: interrupted'."
    ]
    assert found.attrs["failed"] == []


# --- progress


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_shows_on_a_terminal_alone(terminal, plain, monkeypatch, capsys):
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    if terminal:  # rich's own switch
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("TTY_INTERACTIVE", "1")
    many = [PROBLEM] * 20
    nb.sweep(many, NEGATIVES["popular"], progress=False)
    assert capsys.readouterr().err == ""
    nb.sweep(many, NEGATIVES["popular"])
    shown = capsys.readouterr()
    assert ("sweep" in shown.err) is terminal
    assert shown.out == ""


def test_a_short_sweep_shows_nothing(plain, monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    nb.sweep(PROBLEM, NEGATIVES["popular"])
    assert capsys.readouterr().err == ""


# --- presets


@pytest.mark.slow
def test_a_preset_is_a_cell_with_the_loss_it_brings(plain):
    presets = {
        "one": nb.preset("word2vec", m=3),
        "every": nb.presets.PRESETS["paper"],
        "popular": NEGATIVES["popular"],
    }
    found = nb.sweep({"a": PROBLEM}, presets, ("infonce", "sampled_softmax"), ms=[1, 2])
    rows = found.to_dict("records")
    assert [(row["negatives"], row["m"], row["loss_name"]) for row in rows] == [
        ("one", 3, "negative_sampling"),
        ("every", 1, "infonce"),
        ("every", 2, "infonce"),
        ("popular", 3, "infonce"),
        ("popular", 3, "sampled_softmax"),
    ]
    assert rows[0]["sampler"] == "iid(popularity(power=0.75), m=3, hits='mask')"
    assert rows[0]["bias_norm"] == float(nb.preset("word2vec", m=3).exact(PROBLEM).bias_norm)
    assert rows[2]["bias_norm"] == float(nb.preset("paper", m=2).exact(PROBLEM).bias_norm)
    assert rows[3]["bias_norm"] == plain["bias_norm"][4]


def test_presets_have_names_and_draw_with_the_key_of_their_cell():
    found: Any = nb.sweep(
        PROBLEM,
        [nb.preset("ranking_nce", m=2), nb.presets.PRESETS["blanc_rendle"]],
        ms=2,
        method="monte_carlo",
        key=KEY,
        draws=100,
    )
    assert list(found["negatives"]) == ["ranking_nce", "blanc_rendle"]
    expected = nb.preset("blanc_rendle", m=2).monte_carlo(
        PROBLEM, key=jax.random.fold_in(KEY, 1), draws=100
    )
    assert found["bias_norm"].iloc[1] == float(expected.bias_norm)


def test_a_preset_that_needs_a_popularity_fails_alone():
    alone = nb.Problem(cases.SCORES[0], cases.POPULATION[0])
    with pytest.warns(UserWarning, match="1 of 2 cells failed"):
        found: Any = nb.sweep(alone, [nb.preset("word2vec", m=2), nb.preset("paper", m=2)])
    assert found["status"][0].startswith("failed: problem: word2vec draws from the popularity")
    assert found["status"][1] == "ok"


# --- bad input


EITHER = "a sampler, a preset, or a function of m that returns one"
FUNCTION = "lambda m: nb.iid(nb.model(), m)"
TOP = nb.top(2)
ASKED = (
    "expected numbers of negatives where there are functions to call with them, and only there. "
    f"Pass ms=[1, 4, 16] with functions such as {FUNCTION}, or neither."
)
BOTH = (
    "expected both with method='monte_carlo', neither with method='exact'. For Monte Carlo pass "
    "method='monte_carlo', key=jax.random.key(0), draws=10_000."
)
LOSS = (
    "expected a loss such as nb.infonce, or an object with name, corrected, value and check. "
    "nb.LOSSES['infonce'] is one by its name."
)
BAD = {
    "none": (
        (({}, TOP), {}),
        "problems, samplers, losses: got 0, 1 and 1 of them; expected at least one of each. "
        "nb.sweep(problem, nb.iid(nb.model(), m=16)) is the shortest sweep.",
    ),
    "twice": (
        ((PROBLEM, [TOP, TOP]), {}),
        "samplers: got top(m=2), top(m=2); expected distinct samplers or presets; "
        f"{EITHER} under a name. Pass samplers={{'name': {FUNCTION}}}.",
    ),
    "a proposal": (
        ((PROBLEM, {"q": nb.model()}), {"ms": [1]}),
        f"samplers: 'q' is model; expected {EITHER}. Pass samplers={{'q': {FUNCTION}}}.",
    ),
    "returned": (
        ((PROBLEM, {"q": lambda m: m}), {"ms": [1]}),
        "samplers: 'q' called with m=1 returned 1; expected a sampler or a preset. "
        f"Return one: {FUNCTION}.",
    ),
    "no ms": (
        ((PROBLEM, {"q": nb.top}), {}),
        f"ms: got None, and of the samplers 1 are functions of m; {ASKED}",
    ),
    "ms": (
        ((PROBLEM, TOP), {"ms": [1]}),
        f"ms: got [1], and of the samplers 0 are functions of m; {ASKED}",
    ),
    "m": (
        ((PROBLEM, {"q": nb.top}), {"ms": [0]}),
        "ms: got 0; expected a whole number >= 1. Pass ms=1.",
    ),
    "loss": (((PROBLEM, TOP, "nce"), {}), f"loss: got 'nce'; {LOSS}"),
    "no loss": (((PROBLEM, TOP, [3]), {}), f"loss: got 3; {LOSS}"),
    "method": (
        ((PROBLEM, TOP), {"method": "guess"}),
        "method: got 'guess'; expected 'exact' or 'monte_carlo'. Pick one.",
    ),
    "draws too many": (
        ((PROBLEM, TOP), {"draws": 9}),
        f"key, draws: got key=None and draws=9 with method='exact'; {BOTH}",
    ),
    "no key": (
        ((PROBLEM, TOP), {"method": "monte_carlo", "draws": 9}),
        f"key, draws: got key=None and draws=9 with method='monte_carlo'; {BOTH}",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    (arguments, options), message = BAD[name]
    with pytest.raises(ValueError) as caught:
        nb.sweep(*arguments, **options)
    assert str(caught.value) == message


def test_a_function_without_a_name():
    with pytest.raises(ValueError, match=r"samplers: got <function .* under a name"):
        nb.sweep(PROBLEM, lambda m: nb.top(m), ms=1)


PASS = "of type int; expected a problem. For example {'name': nb.Problem(scores, population)}."


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: grid.named_problems(3), f"problems: got 3, {PASS}"),
        (lambda: grid.named_problems({"a": PROBLEM, "b": 3}), f"problems: got 3, {PASS}"),
        (
            lambda: grid.named_negatives({"a": "iid"}, None),
            f"samplers: 'a' is 'iid'; expected {EITHER}. Pass samplers={{'a': {FUNCTION}}}.",
        ),
    ],
)
def test_what_the_annotations_refuse_in_tests_is_refused_without_them(check, message):
    with pytest.raises(ValueError) as caught:
        check()
    assert str(caught.value) == message
