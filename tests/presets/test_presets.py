"""What is said of the named conventions: complete, told apart, refused in whole messages."""

import re

import numpy as np
import pytest

import nce_bias as nb
from tests.oracles.enumeration import enumerate_moments
from tests.presets.definitions.listing import BATCH, POPULARITY, SCORES, M, iid, infonce, moments
from tests.presets.definitions.listing import sampled_softmax as sampled_softmax_of_a_set
from tests.presets.test_definitions import DEFINITIONS, PROBLEM, VIEWS
from tests.refusals import refusal

PRESETS = nb.presets.PRESETS
TWINS = [row.name for row in nb.presets.CONVENTIONS if row.same_as]


# --- two that are one


@pytest.mark.parametrize("name", TWINS)
def test_two_that_are_said_to_be_one_are(name):
    row = PRESETS[name]
    other = PRESETS[row.same_as]
    assert not other.same_as or other.same_m, "a twin of a twin"
    for m in (1, 2, 3):
        mine, its = (nb.preset(one, m).exact(PROBLEM).gradient for one in (name, other.name))
        apart = np.abs(np.asarray(mine - its)).max()
        if row.same_m in (None, m):
            assert apart < 1e-12, m
        else:
            assert apart > 1e-3, m


def test_all_others_differ():
    """By enumeration, with the options of the definitions."""
    gradients = {
        name: moments(*pair, views=VIEWS.get(name, 1)).gradient[: len(SCORES)]
        for name, pair in DEFINITIONS.items()
    }
    alone = [name for name in gradients if not PRESETS[name].same_as or PRESETS[name].same_m]
    for place, name in enumerate(alone):
        for other in alone[:place]:
            assert np.abs(gradients[name] - gradients[other]).max() > 1e-4, (name, other)


def test_corrected_logq_from_its_own_formula():
    """The loss with the gold outside, weighted by a chance that is held fixed."""

    def refined(c):
        weights = np.exp(c.negatives) / (M * c.q)
        chance = np.exp(c.gold.real) / (np.exp(c.gold.real) + weights.real.sum())
        return (1 - chance) * (np.log(weights.sum()) - c.gold)

    ours, theirs = (moments(iid(POPULARITY), f) for f in (sampled_softmax_of_a_set, refined))
    np.testing.assert_allclose(ours.gradient, theirs.gradient, atol=1e-14)
    assert abs(ours.loss - theirs.loss) > 0.1  # the values are not the same
    # hits masked in a batch leave a random number of negatives: another gradient
    masked = moments(iid(POPULARITY, "mask"), sampled_softmax_of_a_set)
    assert np.abs(masked.gradient - theirs.gradient).max() > 1e-2


def test_flatnce_from_its_own_formula():
    def flat(c):
        v = np.log(np.exp(c.negatives - c.gold).sum())
        return np.exp(v - v.real)

    found = moments(BATCH, flat)
    assert found.loss == pytest.approx(1, abs=1e-14)
    mine = nb.preset("flatnce", M).exact(PROBLEM).gradient
    np.testing.assert_allclose(np.asarray(mine), found.gradient, atol=1e-12)
    assert np.abs(np.asarray(mine) - moments(BATCH, infonce).gradient).max() > 1e-2


def test_clip_in_both_directions_by_listing_rows_and_columns():
    scores = np.array([[1.0, 0.0, 0.3], [0.5, 2.0, -0.4]])
    population = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    joint = np.array([[0.4], [0.6]]) * population
    expected = np.zeros_like(joint)
    for turned in (False, True):
        s, pairs = (scores.T, joint.T) if turned else (scores, joint)
        spec = ("iid", pairs.sum(axis=0), M, "keep")
        rows = [
            row.sum() * enumerate_moments(own, row / row.sum(), spec).gradient / 2
            for own, row in zip(s, pairs, strict=True)
        ]
        expected += np.array(rows, float).T if turned else np.array(rows, float)
    problem = nb.Problem(scores, population, weights=[0.4, 0.6])
    found = nb.preset("clip_one_way", M).both_directions(problem)
    np.testing.assert_allclose(found.gradient, expected, atol=1e-12)
    rows_alone = nb.preset("clip_one_way", M).both_directions(problem, share=0.9)
    assert np.abs(rows_alone.gradient - expected).max() > 1e-3
    with pytest.raises(ValueError, match=r"moco reads the side 'queued'.*back=of_columns"):
        nb.preset("moco", M).both_directions(problem)


# --- what each says


@pytest.mark.parametrize("name", PRESETS)
def test_each_says_what_it_is(name):
    row = PRESETS[name]
    made = row(64, **row.on_example)
    assert re.fullmatch(r"[a-z][a-z0-9_]+", name) and made.name == name
    assert repr(made) == f"{name}: {made.sampler!r}, {made.loss.name}"
    assert len(row.words) > 30 and not row.words.endswith(".")
    assert row.status in (nb.presets.READ, nb.presets.AS_WE_READ_IT)
    assert not row.differs or row.differs.endswith(".")
    by_popularity = r"popularity|in_batch|log_uniform(?! by index)"
    assert row.popular == bool(re.search(by_popularity, repr(made.sampler)))
    assert row.same_as == "" or row.same_as in PRESETS
    assert set(row.on_example) <= set(row.options)
    assert set(row.sides) <= set(nb.presets.SIDES)
    years = [int(found) for found in re.findall(r"\((\d{4})\)", row.source)]
    assert not years or min(abs(year - row.year) for year in years) <= 1


def test_words_are_told_once():
    assert len({row.words for row in PRESETS.values()}) == len(PRESETS)


def test_a_card_has_all_of_it():
    lines = nb.presets.convention("irgan").card().splitlines()
    assert lines[0] == "irgan (recommendation, 2017)"
    assert [line[2:11].strip() for line in lines[1:] if line[2] != " "] == [
        "what",
        "source",
        "status",
        "sides",
        "options",
    ]
    assert "temperature=1.0" in lines[-1] and "as we read it" in " ".join(lines)
    assert "same as  uniform_infonce (m = 1)" in nb.presets.convention("bpr").card()
    assert max(map(len, lines)) <= 96


# --- bad input


def test_a_problem_without_popularity():
    problem = nb.Problem(SCORES, PROBLEM.population)
    assert refusal(lambda: nb.preset("word2vec", 2).exact(problem)) == (
        "problem: word2vec draws from the popularity, and this problem has one input whose "
        "pop(y|x) stands for it; expected a popularity pop(y) of its own, or several inputs to "
        "average. Pass popularity=..., the shares of the labels over all inputs, to nb.Problem."
    )
    nb.preset("paper", 2).check(problem)
    two = nb.Problem(np.stack([SCORES, SCORES]), np.stack([PROBLEM.population, POPULARITY]))
    nb.preset("word2vec", 2).check(two)


def test_a_missing_side_is_named_with_its_meaning():
    problem = nb.Problem(SCORES, PROBLEM.population, sides={"bm25": SCORES})
    assert refusal(lambda: nb.preset("ance", 2).exact(problem)) == (
        "problem: ance reads the side 'stale' (scores of an earlier state of the model), and this "
        "problem has bm25; expected an array [V], or [X, V] with a row for each input, of that "
        "name. Pass sides={'stale': array} to nb.Problem."
    )
    none = nb.Problem(SCORES, PROBLEM.population)
    assert "and this problem has none; expected" in refusal(
        lambda: nb.preset("ance", 2).monte_carlo(none, key=0, draws=8)
    )


def test_other_sides_are_no_concern_of_a_convention(recwarn):
    found = nb.preset("bpr_unseen", 2).exact(PROBLEM)
    assert found.status == "ok" and not recwarn.list
    rows = nb.Problem(
        np.stack([SCORES, SCORES]),
        np.stack([PROBLEM.population] * 2),
        POPULARITY,
        sides={"positives": np.stack([PROBLEM.sides["positives"]] * 2)},
    )
    twice = nb.preset("bpr_unseen", 2).exact(rows)
    np.testing.assert_allclose(twice.gradient[1], found.gradient, atol=1e-14)


def test_sampling_agrees():
    exact = nb.preset("dns", 2, pool=3).exact(PROBLEM)
    sampled = nb.preset("dns", 2, pool=3).monte_carlo(PROBLEM, key=1, draws=4000)
    apart = abs(float(sampled.loss - exact.loss))
    other = float(nb.preset("dns", 2, pool=8).exact(PROBLEM).loss)
    spread = float(sampled.standard_errors["loss"])
    assert apart < 4.5 * spread < abs(float(sampled.loss) - other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nb.preset("paper", 0), "m: got 0; expected a whole number >= 1"),
        (
            lambda: nb.preset("pbg", 1),
            "m: got 1, of two kinds; expected 2 or more, half of each kind. Pass m=2 or more.",
        ),
        (
            lambda: nb.preset("blink", 10),
            "m: got 10, with hard=10 of them; expected more than 10, so that some are left for the "
            "other kind. Raise m, or pass a smaller hard.",
        ),
        (
            lambda: nb.preset("simclr", 3),
            "m: got 3, and every other row of a batch brings 2; expected a multiple of 2. Pass "
            "m=4, of 3 rows.",
        ),
        (lambda: nb.preset("dns", 2, pool=0), "pool: got 0; expected a whole number >= 1"),
        (
            lambda: nb.preset("word2vec", 2, temperature=2.0),
            "options: word2vec has no temperature; expected power. Build sampler and loss yourself "
            "for another: nb.exact(problem, sampler, loss).",
        ),
        (
            lambda: nb.preset("ssm", 2, temperature=2.0),
            "options: ssm has no temperature; expected none. Build",
        ),
        (
            lambda: nb.presets.table(PROBLEM),
            "m: got None with a problem; expected how many negatives. Pass m=64.",
        ),
        (
            lambda: nb.presets.table(family="vision"),
            "family: got 'vision'; expected language_models or recommendation or ",
        ),
    ],
)
def test_refused(call, message):
    assert refusal(call).startswith(message)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("word_2_vec", "word2vec or node2vec or one_vs_each"),
        ("tfrs_inbatch", "tfrs_in_batch or dpr_in_batch or tfrs_in_batch_with_hits"),
        ("", " or ".join(nb.presets.COMMON)),
    ],
)
def test_an_unknown_name_lists_the_nearest(name, near):
    assert refusal(lambda: nb.preset(name, m=2)) == (
        f"name: got {name!r}; expected {near}. nb.presets.table() lists all of them."
    )


# --- by name, and all of them


def test_options_are_those_that_a_convention_leaves_open():
    assert repr(nb.preset("paper", m=2, temperature=2.0).sampler) == (
        "without_replacement(model(temperature=2), m=2)"
    )
    assert repr(nb.preset("word2vec", m=2, power=1.0).sampler) == (
        "iid(popularity, m=2, hits='mask')"
    )
    blend = "iid(mixture(popularity, uniform, share=0.25), m=2, hits='mask')"
    assert repr(nb.preset("mixed_negative_sampling", m=2, share=0.25).sampler) == blend
    assert nb.presets.convention("gsasrec").options == {"t": 0.75}


WORDS = ["name", "family", "year", "sampler", "loss", "source", "status", "differs", "same_as"]
NUMBERS = ["expected_loss", "bias_norm", "relative_bias", "cosine", "variance", "error", "answer"]


def test_the_table():
    table = nb.presets.table()
    assert list(table) == [*WORDS, "sides"]
    assert list(table["name"]) == list(PRESETS)
    assert tuple(dict.fromkeys(table["family"])) == nb.presets.FAMILIES
    rows = table.set_index("name")
    row = rows.loc["tf_sampled_softmax"]
    assert (row["year"], row["loss"]) == (2015, "sampled_softmax_both")
    assert row["sampler"] == "until_distinct(log_uniform by index, m)"
    assert "unique=True" in row["source"] and "whole batch" in row["differs"]
    assert rows.loc["pbg", "sampler"] == (
        "iid(popularity, m / 2, hits='keep') + iid(uniform, m / 2, hits='keep')"
    )
    assert rows.loc["in_batch_hardest", "sampler"] == "best_of(in_batch(4 m + 1), m)"
    assert rows.loc["blink", "sampler"] == "iid(popularity, m - 10, hits='keep') + top(m=10)"
    assert rows.loc["bpr", "same_as"] == "uniform_infonce (m = 1)"


def test_computed_rows_on_the_example():
    table = nb.presets.table(m=2, family="theory")
    assert list(table) == [*WORDS, "sides", *NUMBERS]
    problem, row = nb.presets.example(), table.set_index("name").loc["binary_nce"]
    found = nb.exact(
        nb.Problem(problem.scores, problem.population, problem.popularity),
        nb.iid(nb.popularity(), 2, hits="keep"),
        nb.binary_nce,
    )
    assert row["expected_loss"] == pytest.approx(float(found.loss), abs=1e-13)
    assert row["cosine"] == pytest.approx(float(found.cosine), abs=1e-13)
    gap = np.exp(np.asarray(problem.log_model)) - np.asarray(problem.population)
    assert row["relative_bias"] == pytest.approx(float(found.bias_norm) / np.linalg.norm(gap))
    assert set(table["answer"]) == {"ok"}


def test_computed_rows_on_a_problem_that_does_not_fit_all():
    plain = nb.Problem(SCORES, PROBLEM.population, POPULARITY)
    table = nb.presets.table(plain, 2, family="graphs", split=False).set_index("name")
    assert table.loc["line", "answer"] == "ok"
    assert table.loc["sans", "answer"].startswith("failed: problem: sans reads the side 'neighb")
    assert np.isnan(table.loc["sans", "bias_norm"])


def test_what_takes_minutes_is_left_out_unless_asked_for(monkeypatch):
    asked = []

    def noted(row, problem, m, **options):
        asked.append(row.name)
        return dict.fromkeys(NUMBERS, 0)

    monkeypatch.setattr("nce_bias.presets._table.computed", noted)
    many = nb.Problem.from_golds(np.zeros(100), 3, np.full(100, 0.01))
    table = nb.presets.table(many, 4, family="language_models").set_index("name")
    assert table.loc["tf_nce", "answer"] == "left out: it takes minutes. Pass costly=True for it."
    assert "tf_nce" not in asked and "word2vec" in asked
    assert "mnih_teh_2012" in asked and "shared_noise_nce" not in asked  # one pair, computed once
    retrieval = nb.presets.table(many, 4, family="retrieval").set_index("name")
    assert retrieval.loc["blink", "bias_norm"] == 0  # no such pair: its refusal is its answer
    nb.presets.table(many, 4, family="language_models", costly=True)
    nb.presets.table(m=2, family="language_models")
    assert asked.count("tf_nce") == 2


def test_the_example_has_every_side():
    assert set(nb.presets.example().sides) == set(nb.presets.SIDES)
    for row in nb.presets.CONVENTIONS:
        row(2, **row.on_example).check(nb.presets.example())


def test_an_audit_takes_the_common_ones():
    from nce_bias._audit.rows import asked

    names = [name for row in asked(None, [2]) for name in row.names]
    assert sorted(names) == sorted(nb.presets.COMMON)
