"""Recall and reciprocal rank by hand; their intervals against enumeration and simulated truth."""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nce_bias.retrieval import bootstrap
from nce_bias.retrieval.metrics import compare, evaluate, recall, reciprocal_rank

LEGO, MUPPETS = "Lego", "Muppets"
WORLDS = [LEGO, MUPPETS, LEGO, LEGO]  # unequal and not in order
RANKS = [1, 8, 2, 9]


def row(table: Any, metric: str, average: str = "micro") -> Any:
    return table.set_index(["metric", "average"]).loc[(metric, average)]


# --- the metrics


def test_recall_by_hand() -> None:
    assert recall(RANKS, 1) == 1 / 4
    assert recall(RANKS, 8) == 3 / 4  # rank 8 is among the best 8
    assert recall(RANKS, 7) == 2 / 4
    assert recall(RANKS, 8, WORLDS) == pytest.approx((2 / 3 + 1 / 1) / 2, rel=1e-15)


def test_reciprocal_rank_by_hand() -> None:
    assert reciprocal_rank(RANKS) == pytest.approx((1 + 1 / 8 + 1 / 2 + 1 / 9) / 4, rel=1e-15)
    macro = ((1 + 1 / 2 + 1 / 9) / 3 + 1 / 8) / 2
    assert reciprocal_rank(RANKS, WORLDS) == pytest.approx(macro, rel=1e-15)


def test_seeds_stay_apart() -> None:
    ranks = np.array([RANKS, [1, 1, 1, 2], [3, 1, 3, 3]])
    assert recall(ranks, 1).tolist() == [1 / 4, 3 / 4, 1 / 4]  # pyright: ignore
    macro = [(1 / 3 + 0) / 2, (2 / 3 + 1) / 2, (0 + 1) / 2]
    assert recall(ranks, 1, WORLDS) == pytest.approx(macro, rel=1e-15)
    assert reciprocal_rank(ranks)[2] == pytest.approx((1 + 3 / 3) / 4)  # pyright: ignore


# --- tables


def test_evaluate_by_hand() -> None:
    ranks = np.array([[1, 8, 2, 9], [1, 1, 1, 2], [3, 1, 3, 3]])
    table = evaluate(ranks, WORLDS, at=[8, 1])
    assert list(table.columns) == [
        "metric", "average", "value", "low", "high", "standard_error", "seeds_error", "seeds",
        "mentions",
    ]  # fmt: skip
    assert list(zip(table.metric, table.average, strict=True)) == list(
        itertools.product(["recall@8", "recall@1", "mrr"], ["micro", "macro"])
    )
    assert set(table.seeds) == {"3"} and set(table.mentions) == {4}
    micro, macro = row(table, "recall@1"), row(table, "recall@1", "macro")
    # by seed 1/4, 3/4, 1/4: mean 5/12, s² = (1/36 + 4/36 + 1/36) / 2 = 1/12
    assert micro.value == pytest.approx(5 / 12)
    assert micro.seeds_error == pytest.approx(np.sqrt(1 / 12 / 3))
    # by seed 1/6, 5/6, 1/2: mean 1/2, s² = (1/9 + 1/9 + 0) / 2
    assert macro.value == pytest.approx(1 / 2)
    assert macro.seeds_error == pytest.approx(np.sqrt(1 / 9 / 3))
    assert row(table, "mrr").value == pytest.approx(
        (1 + 1 / 8 + 1 / 2 + 1 / 9 + 1 + 1 + 1 + 1 / 2 + 1 / 3 + 1 + 1 / 3 + 1 / 3) / 12
    )


def test_compare_is_a_minus_b() -> None:
    a, b = [1, 1, 1, 2], RANKS
    table = compare(a, b, WORLDS)
    assert row(table, "recall@1").value == pytest.approx(3 / 4 - 1 / 4)
    assert row(table, "recall@1", "macro").value == pytest.approx((2 / 3 + 1) / 2 - (1 / 3 + 0) / 2)
    assert list(table.columns) == list(evaluate(a, WORLDS).columns)
    assert np.isnan(table.seeds_error).all()
    other = compare([a, b], [a, a, b], WORLDS)
    assert set(other.seeds) == {"2, 3"}
    assert np.isfinite(other.seeds_error).all()
    # by seed 3/4, 1/4: s²/2 = 1/16; and 3/4, 3/4, 1/4: s²/3 = 1/36
    assert row(other, "recall@1").seeds_error == pytest.approx(np.sqrt(1 / 16 + 1 / 36))


# --- one draw of the bootstrap, by enumeration of all

HITS = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 1]])  # [seeds, mentions]
BETTER = np.array([[1, 0, 1], [1, 0, 1], [0, 0, 1]])
WORSE = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1]])


def variance(values: list[Fraction]) -> float:
    mean = sum(values) / Fraction(len(values))
    return float(sum((value - mean) ** 2 for value in values) / len(values))


def every(size: int, taken: int) -> list[tuple[int, ...]]:
    return list(itertools.product(range(size), repeat=taken))


def mean_of(hits: np.ndarray, seeds: Any, mentions: Any) -> Fraction:
    cells = [int(hits[s, i]) for s in seeds for i in mentions]
    return Fraction(sum(cells), len(cells))


@pytest.mark.parametrize("block", [bootstrap.BLOCK, 7])
def test_the_standard_error_is_that_of_all_draws(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 of 3 seeds and 2 of 3 mentions: 81 draws.  20,000 give their root to 1 % (3 errors)."""
    monkeypatch.setattr(bootstrap, "BLOCK", block)
    table = evaluate(2 - HITS, [LEGO] * 3, at=[1], draws=20_000)
    found = row(table, "recall@1").standard_error
    two = every(3, 2)
    expected = variance([mean_of(HITS, s, i) for s, i in itertools.product(two, two)])
    assert found == pytest.approx(np.sqrt(expected), rel=0.015)
    three = every(3, 3)
    wrong = {
        "n of n": variance([mean_of(HITS, s, i) for s, i in itertools.product(three, three)]),
        "mentions alone": variance([mean_of(HITS, range(3), i) for i in two]),
        "seeds alone": variance([mean_of(HITS, s, range(3)) for s in two]),
        "cells": variance([mean_of(HITS.reshape(1, 9), [0], i) for i in every(9, 4)]),
        "mentions anew for each seed": variance(
            [
                (mean_of(HITS, s[:1], i) + mean_of(HITS, s[1:], j)) / 2
                for s, i, j in itertools.product(two, two, two)
            ]
        ),
    }
    for name, other in wrong.items():
        assert found != pytest.approx(np.sqrt(other), rel=0.05), name


def test_a_comparison_pairs_mentions_and_by_choice_seeds() -> None:
    two = every(3, 2)
    apart = [
        mean_of(BETTER, s, i) - mean_of(WORSE, r, i) for s, r, i in itertools.product(two, two, two)
    ]
    together = [mean_of(BETTER - WORSE, s, i) for s, i in itertools.product(two, two)]
    unpaired = [
        mean_of(BETTER, s, i) - mean_of(WORSE, r, j)
        for s, r, i, j in itertools.product(two, two, two, two)
    ]
    found = {
        paired: row(
            compare(2 - BETTER, 2 - WORSE, [LEGO] * 3, at=[1], draws=20_000, paired_seeds=paired),
            "recall@1",
        )
        for paired in (False, True)
    }
    assert found[False].standard_error == pytest.approx(np.sqrt(variance(apart)), rel=0.015)
    assert found[True].standard_error == pytest.approx(np.sqrt(variance(together)), rel=0.015)
    wrong = np.sqrt(variance(unpaired))
    for one, other in itertools.combinations(
        [*(r.standard_error for r in found.values()), wrong], 2
    ):
        assert one != pytest.approx(other, rel=0.05)
    # differences by seed 0, 0, -1/3: s² = (1 + 1 + 4) / 81 / 2
    assert found[True].seeds_error == pytest.approx(np.sqrt(1 / 27 / 3))


def test_three_of_three_mentions_have_the_unbiased_variance() -> None:
    """Hits 1, 0, 0: s²/n = (1/3)/3, where drawing 3 of 3 would give 2/27."""
    found = row(evaluate([1, 2, 2], [LEGO] * 3, at=[1], draws=20_000), "recall@1")
    assert found.standard_error == pytest.approx(np.sqrt(1 / 9), rel=0.015)


def test_worlds_are_fixed() -> None:
    """One world is linked throughout and one never: only other worlds could change that."""
    table = evaluate([1] * 6 + [2] * 3, [LEGO] * 6 + [MUPPETS] * 3, at=[1])
    for average, value in (("micro", 6 / 9), ("macro", 1 / 2)):
        found = row(table, "recall@1", average)
        assert found.value == pytest.approx(value)
        assert found.standard_error == pytest.approx(0, abs=1e-12)
        assert found.low == pytest.approx(value) and found.high == pytest.approx(value)


def test_a_run_does_not_differ_from_itself() -> None:
    ranks = np.array([[1, 2, 5, 1], [2, 2, 1, 1]])
    one = compare(ranks[0], ranks[0], WORLDS)
    assert (one[["value", "low", "high", "standard_error"]].to_numpy() == 0).all()
    paired = compare(ranks, ranks, WORLDS, paired_seeds=True)
    columns = ["value", "low", "high", "standard_error", "seeds_error"]
    assert (paired[columns].to_numpy() == 0).all()
    assert (compare(ranks, ranks, WORLDS).standard_error[:1] > 0.1).all()  # seeds apart


# --- intervals


def test_few_seeds_have_an_interval_of_few_degrees_of_freedom() -> None:
    """Seeds reach 0.4, 0.5, 0.6 and mentions vary no more: a draw of 2 is 0.4 with chance 1/9."""
    ranks = np.array([[1] * n + [2] * (10 - n) for n in (4, 5, 6)])
    found = row(evaluate(ranks, [str(i) for i in range(10)], at=[1], draws=20_000), "recall@1")
    stretch = 4.302653 / 1.959964  # t with 2 degrees of freedom over normal, 97.5 %
    assert found.low == pytest.approx(0.5 - stretch * 0.1, abs=0.005)
    assert found.high == pytest.approx(0.5 + stretch * 0.1, abs=0.005)
    assert found.low < 0.4 - 0.1  # and not the plain percentile


def test_degrees_of_freedom_add_up_over_two_runs() -> None:
    """s²/S of 1/16 (two seeds) and 1/36 (three): ν = (1/16 + 1/36)² / (1/16² / 1 + 1/36² / 2)."""
    a = np.array([[1, 1, 1, 2], [1, 2, 2, 2]])
    b = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [1, 2, 2, 2]])
    parts = [np.where(x == 1, 1.0, 0.0)[:, None] for x in (a, b)]
    strata = [np.array([i]) for i in range(4)]
    found = bootstrap.crossed(
        [parts[0], -parts[1]], strata, np.full((1, 4), 1 / 4), draws=20_000, seed=0, level=0.9
    )
    freedom = (1 / 16 + 1 / 36) ** 2 / (1 / 16**2 / 1 + 1 / 36**2 / 2)
    stretch = stats.t.ppf(0.95, freedom) / stats.norm.ppf(0.95)
    # the least of a − b is 1/4 − 3/4, with chance 1/2 · 4/9; its value 1/2 − 7/12
    value = 1 / 2 - 7 / 12
    assert found.low.item() == pytest.approx(value + stretch * (-1 / 2 - value), rel=0.01)


def test_one_seed_has_the_percentiles_of_its_mentions() -> None:
    """100 mentions, half linked: 99 drawn are 49.5 ± 4.975; percentiles of the binomial."""
    found = row(evaluate([1, 2] * 50, [LEGO] * 100, at=[1], draws=20_000, level=0.9), "recall@1")
    low, high = stats.binom.ppf([0.05, 0.95], 99, 0.5) / 99
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert np.isnan(found.seeds_error)


def test_intervals_stay_within_what_is_possible() -> None:
    ranks = np.array([[1] * 9 + [2], [1] * 10, [2] * 2 + [1] * 8])
    table = evaluate(ranks, [LEGO] * 10, at=[1])
    assert row(table, "recall@1").high == 1.0
    assert (table.low >= 0).all() and (table.low < table.value).all()


def test_the_same_seed_gives_the_same_table() -> None:
    ranks = np.random.default_rng(0).integers(1, 9, (3, 40))
    worlds = [LEGO, MUPPETS] * 20
    assert evaluate(ranks, worlds).equals(evaluate(ranks, worlds))
    assert not evaluate(ranks, worlds).equals(evaluate(ranks, worlds, seed=1))


# --- coverage: a mention is linked if μ_world + mention + seed + both > 0, all normal

SIZES, MEANS = np.array([90, 30]), np.array([0.8, -0.8])
OF_MENTION, OF_SEED, OF_BOTH = 0.8, 0.3, 0.6
NAMES = np.repeat([LEGO, MUPPETS], SIZES)
REPEATS = 300
ERROR = np.sqrt(0.95 * 0.05 / REPEATS)  # of a coverage of 95 %


def simulated(rng: np.random.Generator, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks [seeds, n], and the true recall@1 of each world for the mean seed."""
    luck = OF_SEED * rng.normal(size=(seeds, 1))
    latent = np.repeat(MEANS, SIZES) + OF_MENTION * rng.normal(size=SIZES.sum()) + luck
    latent = latent + OF_BOTH * rng.normal(size=latent.shape)
    return np.where(latent > 0, 1, 2), luck


def truth(spread: float, shift: float = 0.0) -> dict[str, float]:
    by_world = stats.norm.cdf((MEANS + shift) / spread)
    return {"micro": float(SIZES @ by_world / SIZES.sum()), "macro": float(by_world.mean())}


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    true = truth(np.sqrt(OF_MENTION**2 + OF_SEED**2 + OF_BOTH**2))
    covered = dict.fromkeys(("micro", "macro", "micro for macro", "mentions", "seeds"), 0)
    values, squared = [], []
    for repeat in range(REPEATS):
        ranks, _ = simulated(rng, 3)
        table = evaluate(ranks, NAMES, at=[1], draws=300, seed=repeat)
        micro, macro = row(table, "recall@1"), row(table, "recall@1", "macro")
        covered["micro"] += micro.low <= true["micro"] <= micro.high
        covered["macro"] += macro.low <= true["macro"] <= macro.high
        covered["micro for macro"] += micro.low <= true["macro"] <= micro.high
        hits = (ranks == 1).astype(float)
        mentions = bootstrap.crossed(  # as if the mean over seeds were one trained model
            [hits.mean(axis=0)[None, None]],
            [np.arange(90), np.arange(90, 120)],
            SIZES[None] / SIZES.sum(),
            draws=300,
            seed=repeat,
            level=0.95,
        )
        covered["mentions"] += mentions.low.item() <= true["micro"] <= mentions.high.item()
        by_seed = hits.mean(axis=1)  # 3 of 3: all of the least with chance 1/27 > 2.5 %
        covered["seeds"] += by_seed.min() <= true["micro"] <= by_seed.max()
        values.append(micro.value)
        squared.append(micro.standard_error**2)
    share = {name: count / REPEATS for name, count in covered.items()}
    assert share["micro"] >= 0.95 - 4 * ERROR
    assert share["macro"] >= 0.95 - 4 * ERROR
    for wrong in ("micro for macro", "mentions", "seeds"):
        assert share[wrong] < 0.95 - 4 * ERROR, wrong
    # unbiased but for the interaction, which counts three times; 300 variances know 8 %
    assert 1 - 4 * 0.08 < np.mean(squared) / np.var(values) < 1.2 + 4 * 0.08


def test_the_interval_of_one_seed_is_about_that_model() -> None:
    rng = np.random.default_rng(1)
    spread = np.sqrt(OF_MENTION**2 + OF_BOTH**2)
    of_model, of_method = 0, 0
    for repeat in range(REPEATS):
        ranks, luck = simulated(rng, 1)
        found = row(evaluate(ranks, NAMES, at=[1], draws=300, seed=repeat), "recall@1")
        of_model += found.low <= truth(spread, float(luck[0, 0]))["micro"] <= found.high
        of_method += found.low <= truth(np.hypot(spread, OF_SEED))["micro"] <= found.high
    assert 0.95 - 4 * ERROR <= of_model / REPEATS <= 0.95 + 3.5 * ERROR
    assert of_method / REPEATS < 0.95 - 4 * ERROR


# --- arguments

WHOLE = "expected whole numbers >= 1, where 1 is best. Add 1 to places counted from 0; a rank of 0 "
WHOLE += "is also what was never ranked."
SHAPE = (
    "expected [n] or [seeds, n], neither of them 0. Stack the ranks of several seeds by np.stack."
)
OTHERS = (
    "expected one world for each mention, shape (2,). "
    "Pass the mentions that were ranked, such as corpus['test']."
)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recall([1, 0], 1), f"ranks: got 0 at 1; {WHOLE}"),
        (lambda: recall([[1, 2], [1.5, 2]], 1), f"ranks: got 1.5 at (1, 0); {WHOLE}"),
        (lambda: reciprocal_rank([1, np.nan]), f"ranks: got nan at 1; {WHOLE}"),
        (lambda: reciprocal_rank([np.inf]), f"ranks: got inf at 0; {WHOLE}"),
        (lambda: compare([1, 2], [1, -3], [LEGO] * 2), f"ranks_b: got -3 at 1; {WHOLE}"),
        (lambda: recall([], 1), f"ranks: got shape (0,); {SHAPE}"),
        (lambda: recall(3, 1), f"ranks: got shape (); {SHAPE}"),
        (
            lambda: recall(["1"], 1),
            "ranks: got dtype <U1; expected whole numbers. Pass what nb.retrieval.rank gives.",
        ),
        (
            lambda: recall([True], 1),
            "ranks: got dtype bool; expected whole numbers. Pass what nb.retrieval.rank gives.",
        ),
        (lambda: recall([1], 0), "k: got 0; expected a whole number >= 1. Pass k=1."),
        (
            lambda: evaluate([1], [LEGO], at=[1, -8]),
            "k: got -8; expected a whole number >= 1. Pass k=1.",
        ),
        (
            lambda: evaluate([1, 2], [LEGO] * 3),
            f"worlds: got shape (3,) for 2 mentions; {OTHERS}",
        ),
        (lambda: recall([1, 2], 1, LEGO), f"worlds: got shape () for 2 mentions; {OTHERS}"),
        (
            lambda: evaluate([1], [LEGO], draws=1),
            "draws: got 1; expected a whole number >= 2. Pass draws=2.",
        ),
        (
            lambda: evaluate([1], [LEGO], level=95.0),
            "level: got 95.0; expected a number inside (0, 1). Pass level=0.95.",
        ),
        (
            lambda: compare([1, 2], [1, 2, 3], [LEGO] * 2),
            "ranks_b: got 3 mentions, ranks_a has 2; expected ranks of the same mentions in the "
            "same order. Rank both runs on the same split and rows.",
        ),
        (
            lambda: compare([1, 2], [[1, 2], [2, 1]], [LEGO] * 2, paired_seeds=True),
            "ranks_b: got 2 seeds, ranks_a has 1; expected as many seeds for paired_seeds=True. "
            "Pass paired_seeds=False.",
        ),
    ],
)  # fmt: skip
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
