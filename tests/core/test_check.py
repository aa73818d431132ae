"""A sampler that draws what it says passes at the stated level; each way to lie is found."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.check import statistics
from nce_bias.samplers import Law, Sampler
from tests import cases

KEY = jax.random.key(0)
PROBLEM = nb.Problem(
    cases.SCORES[0], cases.POPULATION[0], popularity=cases.POPULARITY
)  # one input: its most frequent golds are 0 and 2


def draws_by(sampler: Sampler) -> Any:
    """What a pipeline of one's own draws: `sampler`, whatever is claimed of it."""

    @eqx.filter_jit
    def draw(key, scores, popularity, gold):
        return sampler.law(scores, popularity).draw(key, gold)

    return draw


def check(claimed: Sampler, really: Sampler | None = None, seed: int = 0, **options: Any):
    draw = None if really is None else draws_by(really)
    key = jax.random.key(seed)
    return nb.check_sampler(PROBLEM, claimed, key=key, draw=draw, **{"draws": 4000, **options})


def failed(found: nb.SamplerCheck) -> set[str]:
    return {row.name for row in found.rows if row.verdict not in ("ok", "not compared")}


# --- samplers that draw what they say

RIGHT = {
    "exclude": nb.iid(nb.popularity(), 3),
    "mask": nb.iid(nb.popularity(), 3, hits="mask"),
    "keep": nb.iid(nb.popularity(), 3, hits="keep"),
    "without replacement": nb.without_replacement(nb.popularity(), 2),
    "all of them": nb.without_replacement(nb.uniform(), 4),
    "top": nb.top(2),
    "sum": nb.top(1) + nb.iid(nb.uniform(), 2, hits="mask"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_sampler_passes(name):
    for seed in range(4):
        found = check(RIGHT[name], seed=seed)
        assert found.ok, found
        assert found.status == "ok"
    names = ["q", "support", "frequencies", "copies", "coincidences", "gold"] * 2
    assert [row.name for row in found.rows] == names
    one_q = name not in ("top", "sum")
    compared = {row.name for row in found.rows if row.verdict == "ok"}
    assert compared >= {"copies", "coincidences", "gold"}
    assert ({"q", "support", "frequencies"} <= compared) is one_q


@pytest.mark.slow
def test_the_level_is_kept():
    """At level 0.2 a right sampler may fail in 1 of 5 seeds: 23 of 60 has a chance below 1e-3."""
    labels = 60  # enough that a comparison of each at level 0.2 / 6 would nearly always fail
    problem = nb.Problem(np.zeros(labels), np.full(labels, 1 / labels))
    sampler = nb.iid(nb.uniform(), 3, hits="keep")
    keys = [jax.random.key(seed) for seed in range(60)]
    wrong = [
        not nb.check_sampler(problem, sampler, key=key, draws=1000, level=0.2).ok for key in keys
    ]
    assert 0 < sum(wrong) < 23


def test_float32():
    with cases.single_precision():
        problem = nb.Problem(cases.SCORES[0], cases.POPULATION[0])
        assert problem.scores.dtype == np.float32
        for name in ("mask", "without replacement"):
            found = nb.check_sampler(problem, RIGHT[name], key=KEY, draws=4000)
            assert found.ok, found


def test_a_gold_that_takes_almost_all_of_q():
    q = np.array([1e-14, 1 - 4e-14, 1e-14, 1e-14, 1e-14])
    problem = nb.Problem(np.zeros(5), np.eye(5)[1])
    for hits in cases.HITS:
        sampler = nb.iid(nb.from_probabilities(q), 2, hits)
        found = nb.check_sampler(problem, sampler, key=KEY, draws=1000)
        assert found.ok, found


# --- samplers that do not


IID = nb.iid(nb.popularity(), 3)
DISTINCT = nb.without_replacement(nb.popularity(), 2)


@pytest.mark.parametrize(
    ("claimed", "really", "found_by"),
    [
        (IID, nb.iid(nb.popularity(), 3, hits="keep"), {"frequencies", "copies", "gold"}),
        (IID, nb.iid(nb.popularity(), 3, hits="mask"), {"frequencies", "copies"}),
        (IID, nb.iid(nb.popularity(0.75), 3), {"frequencies", "copies"}),
        (IID, nb.iid(nb.popularity(), 2), {"frequencies", "copies"}),
        (nb.iid(nb.popularity(), 3, "mask"), IID, {"frequencies", "copies"}),
        (nb.iid(nb.popularity(), 3, "keep"), nb.iid(nb.popularity(), 3, "mask"), {"copies"}),
        (DISTINCT, nb.without_replacement(nb.popularity(0.75), 2), {"copies"}),
        (DISTINCT, nb.iid(nb.popularity(), 2), {"copies", "coincidences"}),
        (nb.top(2), nb.without_replacement(nb.model(0.2), 2), {"copies"}),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else str(value),
)
def test_another_law_is_found(claimed, really, found_by):
    found = check(claimed, really)
    assert not found.ok
    assert failed(found) >= found_by


def test_equal_frequencies_do_not_hide_dependence():
    """Uniform q: distinct and iid labels have the same frequencies and the same copies."""
    many, few = nb.iid(nb.uniform(), 2), nb.without_replacement(nb.uniform(), 2)
    assert failed(check(few, many)) == failed(check(many, few)) == {"coincidences"}
    found = check(few, many).status
    assert "distinct labels are claimed: draw without replacement, or claim nb.iid." in found
    assert "if labels are drawn distinct, claim nb.without_replacement." in check(many, few).status


def off_by(error: float) -> np.ndarray:
    """POPULARITY, the most popular label off by a relative `error`."""
    q = cases.POPULARITY * (1 - error * 0.4 / 0.6)
    q[1] = cases.POPULARITY[1] * (1 + error)
    return q


@pytest.mark.parametrize("size", [1.5, 0.2])
def test_what_is_called_detectable_is(size):
    """5 % and less: half as much again as is detectable is found, a fifth of it is not."""
    claimed = nb.iid(nb.popularity(), 3, hits="keep")
    draws = 20_000
    detectable = check(claimed, draws=draws).detectable
    # comparisons: 3 for each of 2 golds, each over 5 labels; E = 3 draws q
    z = 5.5249  # of level 1e-6 / 30, two-sided
    assert detectable == pytest.approx((z + 1.2816) * np.sqrt(0.6 / (3 * draws * 0.4)), rel=1e-3)
    assert 0.03 < detectable < 0.05 / 1.4
    error = 0.05 if size > 1 else size * detectable
    really = nb.iid(nb.from_probabilities(off_by(error)), 3, hits="keep")
    assert ("copies" in failed(check(claimed, really, draws=draws))) is (size > 1)


class Liar(Sampler):
    """Says one thing and does another, or scales its q."""

    m: int
    says: Any
    does: Any
    scale: float

    def law(self, scores, popularity):
        says, does = (each.law(scores, popularity) for each in (self.says, self.does))
        return LiarLaw(says, does, self.scale)

    def check(self, problem):
        self.says.check(problem)


class LiarLaw(Law):
    says: Any
    does: Any
    scale: float

    @property
    def size(self):
        return self.says.size

    def log_laplace(self, exposures):
        return self.says.log_laplace(exposures)

    def coincidences(self, exposures, values):
        return self.says.coincidences(exposures, values)

    def own_hits(self, exposures):
        return self.says.own_hits(exposures)

    def draw(self, key, gold):
        return self.does.draw(key, gold)

    def log_proposal(self):
        log_q, left = self.says.log_proposal()
        return log_q + jnp.log(self.scale), left


@pytest.mark.parametrize("scale", [2.0, 0.9, np.nan])
def test_a_q_that_is_not_normalised(scale):
    found = check(Liar(3, IID, IID, scale))
    for row in (row for row in found.rows if row.name == "q"):
        assert row.verdict == "failed"
        assert scale != scale or row.statistic == pytest.approx(abs(scale - 1))
    assert "Normalise log_q by jax.nn.log_softmax" in found.status


def test_a_sampler_of_ones_own():
    keeps = nb.iid(nb.popularity(), 3, hits="keep")
    assert check(Liar(3, IID, IID, 1.0)).ok
    assert failed(check(Liar(3, IID, keeps, 1.0))) >= {"frequencies", "copies", "gold"}


def test_labels_that_are_never_drawn():
    q = nb.from_probabilities([0.5, 0.0, 0.3, 0.0, 0.2])
    found = check(nb.iid(q, 3))
    assert failed(found) == {"support"}
    assert not found.ok
    holes = [
        f"support of input 0, gold {gold}: 2 labels that compete with the gold have q = 0: 1, 3. "
        "No number of negatives makes up for them: mix in another proposal, "
        "nb.mixture(q, nb.uniform(), share=0.99)."
        for gold in (0, 2)
    ]
    assert found.status == f"2 of 12 checks failed: {holes[0]}; {holes[1]}"
    alone = nb.Problem(np.zeros(2), [0.0, 1.0])  # the only gold competes with nobody
    only = nb.iid(nb.from_probabilities([1.0, 0.0]), 1)
    assert nb.check_sampler(alone, only, key=KEY, draws=100).ok


class Silent(LiarLaw):
    def log_laplace(self, exposures):
        raise nb.NoExactMethod("no closed form: use nb.monte_carlo")


class NoFunctional(Liar):
    def law(self, scores, popularity):
        says, does = (each.law(scores, popularity) for each in (self.says, self.does))
        return Silent(says, does, self.scale)


def test_without_a_laplace_functional():
    found = check(NoFunctional(3, IID, IID, 1.0))
    assert found.ok
    skipped = [row for row in found.rows if row.verdict == "not compared"]
    assert [(row.name, row.remedy) for row in skipped] == [
        ("copies", "it has no exact method"),
        ("coincidences", "it has no exact method"),
    ] * 2
    with pytest.raises(nb.NoExactMethod):
        check(NoFunctional(3, IID, IID, 1.0), inclusion=True)
    left_out = check(IID, inclusion=False)
    assert {row.remedy for row in left_out.rows if row.name == "copies"} == {"inclusion=False"}


# --- a pipeline in NumPy


def numpy_pipeline(key, scores, popularity, gold):
    """Distinct, in order of their labels, without the gold."""
    assert all(type(each) is np.ndarray for each in (key, scores, popularity))
    rest = np.delete(popularity, gold)
    labels = np.random.default_rng(key).choice(
        np.delete(np.arange(len(rest) + 1), gold), 2, replace=False, p=rest / rest.sum()
    )
    return np.sort(labels)


def test_a_pipeline_in_numpy():
    found = nb.check_sampler(PROBLEM, DISTINCT, key=KEY, draws=2000, draw=numpy_pipeline)
    assert found.ok, found
    assert {row.remedy for row in found.rows if row.name == "frequencies"} == {
        "the order of a draw of your own is not known"
    }

    def keeps_the_gold(key, scores, popularity, gold):
        return np.random.default_rng(key).choice(5, 2, replace=False, p=popularity)

    wrong = nb.check_sampler(PROBLEM, DISTINCT, key=KEY, draws=2000, draw=keeps_the_gold)
    assert failed(wrong) == {"copies", "gold"}


def test_dropped_hits_are_marked_or_left_out():
    masked = nb.iid(nb.popularity(), 3, hits="mask")

    def marked(key, scores, popularity, gold):
        labels = np.random.default_rng(key).choice(5, 3, p=popularity)
        return np.where(labels == gold, -7, labels), labels != gold

    def left_out(key, scores, popularity, gold):
        labels = np.random.default_rng(key).choice(5, 3, p=popularity)
        return labels[labels != gold]

    for draw in (marked, left_out):
        assert nb.check_sampler(PROBLEM, masked, key=KEY, draws=2000, draw=draw).ok


# --- the statistics


def test_rare_labels_are_not_judged_by_a_normal_law():
    """Two copies where 0.02 are expected: 14 standard deviations, and a chance of 2e-4."""
    law = statistics.Binomial(np.array([0.02]), 20_000)
    (p_value,) = statistics.copies(np.array([2]), law, eps=1e-16)
    assert p_value == pytest.approx(2 * 0.02**2 / 2, rel=0.02)


def test_what_cannot_happen_is_not_pooled_away():
    chance = np.array([0.999, 0.001, 0.0])
    assert statistics.frequencies(np.array([999.0, 1.0, 0.0]), chance)[1] == 1.0
    assert statistics.frequencies(np.array([998.0, 1.0, 1.0]), chance)[1] == 0.0


@pytest.mark.parametrize(("m", "q"), [(2, np.full(50, 0.02)), (3, np.array([0.7, 0.2, 0.1]))])
def test_coincidences_of_iid_draws_keep_the_level(m, q):
    """1000 tests at level 0.05: 50 expected, sd 7; the tail is a little thin for few pairs."""
    rng = np.random.default_rng(0)
    labels = rng.choice(len(q), (1000, 400, m), p=q)
    equal = labels[..., :, None] == labels[..., None, :]
    pairs = (equal.sum(axis=(-1, -2)) - m) / 2
    mean = m * (m - 1) / 2 * np.sum(q**2)
    values = np.array([statistics.coincidences(each, mean) for each in pairs])
    assert 25 <= np.sum(values < 0.05) <= 80
    assert np.median([statistics.coincidences(each, 3 * mean) for each in pairs]) < 0.01


# --- the report


def test_the_report():
    found = check(IID, nb.iid(nb.popularity(), 3, hits="keep"))
    lines = repr(found).splitlines()
    assert lines[:2] == [
        "SamplerCheck of iid(popularity, m=3): NOT OK",
        "  4000 sets of 3 for each of 2 golds of 1 inputs, level 1e-06 for all comparisons "
        "together",
    ]
    assert lines[2].startswith("  finds an error of 0.0")
    assert "  gold          2 failed" in lines
    assert any(
        line.startswith("  gold of input 0, gold 0: the gold was drawn ")
        and line.endswith("take it out before drawing, mark it not present, or claim hits='keep'.")
        for line in lines
    )
    frame = found.to_frame()
    assert list(frame) == ["name", "input", "gold", "statistic", "p_value", "verdict", "remedy"]
    assert len(frame) == len(found.rows) == 12
    assert set(frame["gold"]) == {0, 2}
    with pytest.raises(AttributeError):
        setattr(found, "level", 0.1)  # noqa: B010 (frozen)


def test_the_old_order_of_arguments_is_taken_and_says_so():
    new = nb.check_sampler(PROBLEM, IID, key=KEY, draws=500, golds=1)
    with pytest.warns(DeprecationWarning) as caught:
        positional = nb.check_sampler(IID, PROBLEM, KEY, 500, golds=1)  # pyright: ignore
        keywords = nb.check_sampler(IID, problem=PROBLEM, key=KEY, draws=500, golds=1)  # pyright: ignore
    assert positional == keywords == new
    assert [str(one.message) for one in caught] == 2 * [
        "nb.check_sampler(sampler, problem, key, draws) is nb.check_sampler(problem, sampler, "
        "key=key, draws=draws) now; the next release takes the old order no more"
    ]


def test_which_inputs_and_golds():
    found = nb.check_sampler(cases.problem(), IID, key=KEY, draws=100, inputs=2, golds=1)
    places = {(row.input, row.gold) for row in found.rows}
    assert places == {(0, 0), (2, 3)}  # pop(x) = 0.5, 0.2, 0.3


# --- bad input

WANTED = (
    "expected integers [m], or (integers [m], booleans [m]), False where a slot is empty. "
    "Return the negatives of one set."
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 99}, "draws: got 99; expected a whole number >= 100. Pass draws=100."),
        ({"golds": 0}, "golds: got 0; expected a whole number >= 1. Pass golds=1."),
        (
            {"level": 0.7},
            "level: got 0.7; expected a number in (0, 0.5). Leave it out for 1e-06.",
        ),
        (
            {"draw": 3},
            "draw: got int; expected a function of key, scores, popularity and gold. "
            "Return labels [m], or (labels [m], present [m]).",
        ),
        (
            {"draw": lambda *_: np.zeros(4, int)},
            "draw: returned 4 labels; expected at most the 3 of the sampler. Pass a sampler of "
            "that m, or draw fewer; do not return the gold with the negatives.",
        ),
        (
            {"draw": lambda *_: np.zeros(2)},
            f"draw: returned labels float64[2], present bool[2]; {WANTED}",
        ),
        (
            {"draw": lambda *_: (np.zeros(2, int), np.ones(2))},
            f"draw: returned labels int64[2], present float64[2]; {WANTED}",
        ),
        (
            {"draw": lambda *_: 3},
            f"draw: returned labels int64[], present bool[]; {WANTED}",
        ),
        (
            {"draw": lambda *_: np.array([0, 5])},
            "draw: returned the label 5; expected labels from 0 to 4. "
            "Mark what is no label by present = False.",
        ),
        (
            {"draw": jax.jit(lambda *_: jnp.array([-1, 2]))},
            "draw: returned the label -1; expected labels from 0 to 4. "
            "Mark what is no label by present = False.",
        ),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError) as caught:
        nb.check_sampler(PROBLEM, IID, key=KEY, **{"draws": 100, **options})
    assert str(caught.value) == message
