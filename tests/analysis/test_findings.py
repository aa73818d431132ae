"""The findings of six analyses: claims of their pages against results, figures against tables."""

import importlib
import pathlib
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.batches import run as batches
from analysis.mixing import run as mixing
from analysis.optimal import run as optimal
from analysis.presets import run as presets
from analysis.regimes import run as regimes
from analysis.two_labels import run as two_labels

ROOT = pathlib.Path(__file__).parents[2]
NAMES = ("two_labels", "regimes", "mixing", "batches", "presets", "optimal")


def read(name: str, table: str) -> Any:
    return pd.read_csv(ROOT / "analysis" / name / "results" / f"{table}.csv")


def page(name: str) -> str:
    return (ROOT / "analysis" / name / "README.md").read_text()


def shown(value: float) -> str:
    if np.isnan(value):
        return "–"
    return "0" if value < 1e-6 else f"{value:.2g}"


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_draws_the_table(name, tmp_path):
    module = importlib.import_module(f"analysis.{name}.figure")
    (path,) = module.draw(ROOT / "analysis" / name / "results", tmp_path)
    assert path.stat().st_size > 20_000
    assert f"../../figures/{name}.png" in page(name)
    assert (ROOT / "figures" / f"{name}.png").is_file()


# --- two labels


def test_closed_forms_are_the_exact_engine():
    bias, formula = read("two_labels", "bias"), read("two_labels", "closed_form")
    for hits in two_labels.HITS:
        found = bias[(bias["hits"] == hits) & (bias["m"] == 1)]["bias_norm"].to_numpy()
        wanted = formula[(formula["hits"] == hits) & (formula["m"] == 1)]["bias_norm"].to_numpy()
        assert np.abs(found - wanted).max() < 1e-13
    wrong = 2 * two_labels.closed_form(two_labels.shares(), 1, "keep") / np.sqrt(2)
    kept = bias[(bias["hits"] == "keep") & (bias["m"] == 1)]["bias_norm"].to_numpy()
    assert np.abs(kept - wrong).max() > 0.01


@pytest.mark.parametrize("hits", two_labels.HITS)
def test_the_limits_are_those_of_many_draws(hits):
    """At rate 1/m where a is not extreme."""
    a = np.array([0.3, 0.6])
    problem = nb.Problem(np.log(np.stack([a, 1 - a], 1)), np.stack([a, 1 - a], 1))
    found = nb.exact(problem, nb.iid(nb.model(), 100_000, hits=hits), split=False)
    norms = np.linalg.norm(np.asarray(found.bias), axis=1)
    assert np.abs(norms - two_labels.closed_form(a, np.inf, hits)).max() < 1e-4
    assert np.abs(norms - two_labels.closed_form(a, 1, hits)).min() > 0.01


def test_excluded_hits_for_any_m():
    a = np.array([0.2, 0.7])
    problem = nb.Problem(np.log(np.stack([a, 1 - a], 1)), np.stack([a, 1 - a], 1))
    found = nb.exact(problem, nb.iid(nb.model(), 5), split=False)
    norms = np.linalg.norm(np.asarray(found.bias), axis=1)
    assert np.abs(norms - two_labels.closed_form(a, 5, "exclude")).max() < 1e-13


def test_what_the_page_says_of_two_labels():
    bias = read("two_labels", "bias")
    most = bias.groupby(["hits", "m"])["bias_norm"].max()
    assert most["keep", 1] == pytest.approx(np.sqrt(6) / 18, abs=1e-4)  # the grid is 1/99 wide
    assert most["mask", 8] < 0.072 < 0.136 < most["keep", 1] + 1e-3
    assert most["exclude", 1] < 1e-12
    for hits in ("keep", "exclude"):
        wide = bias[bias["hits"] == hits].pivot_table(index="a", columns="m", values="bias_norm")
        assert (np.diff(wide.to_numpy(), axis=1) > -1e-13).all()


# --- regimes


def ratios(draws: str) -> Any:
    bias = read("regimes", "bias")
    wide = bias[bias["draws"] == draws].pivot_table(
        index="entropy", columns=["negatives", "m"], values="bias_norm"
    )
    return wide["model"] / wide["uniform"]


def test_independent_hard_negatives_win_hardly_anywhere():
    ratio = ratios("independent")
    wins = ratio[ratio < 1].stack().dropna()
    assert set(wins.index.get_level_values("m")) <= {1, 2}
    assert wins.index.get_level_values("entropy").min() > 3.7
    assert (ratio[32] > 3).all()


def test_distinct_hard_negatives_win_where_they_cover():
    ratio = ratios("distinct")
    concentrated, flat = ratio.iloc[0], ratio.iloc[-1]
    assert concentrated[32] < 1 / 30 and concentrated[4] < 1 < concentrated[2]
    assert flat[32] > 20
    # the frontier in m lies between two and eight times e^entropy, where it is on the map
    for entropy, row in ratio.iterrows():
        won = [m for m in row.index if m > 2 and row[m] < 1]
        if won:
            assert 0.8 < min(won) / np.exp(entropy) < 8, entropy
    assert (read("regimes", "bias")["error"] < 1e-5).all()
    assert 30.5 < 1 / concentrated[32] < 31.5 and 33.5 < ratio.max(axis=None) < 34.5


# --- mixing


def test_the_table_of_mixing():
    table = read("mixing", "moments").set_index(["mixing", "loss_name", "share"])
    place = table["bias_norm"].sort_index()
    kinds = [("mixture", "infonce"), ("two sets", "infonce"), ("top and distinct", "infonce")]
    kinds.append(("mixture", "sampled_softmax"))
    for share in mixing.FEW_SHARES:
        cells = [shown(place[(*kind, share)]) for kind in kinds]
        assert f"| {share:g} | {' | '.join(cells)} |" in page("mixing")
    uncorrected = place["mixture", "infonce"].sort_index()
    corrected = place["mixture", "sampled_softmax"].sort_index()
    assert (np.diff(uncorrected) > 0).all() and (np.diff(corrected) < 0).all()
    two = place["two sets", "infonce"].sort_index() / uncorrected
    assert (two >= 1 - 1e-6).all() and 1.07 < two.max() < 1.085
    assert place["top and distinct", "infonce"].idxmax() == 0.25
    assert uncorrected.iloc[1] > 2.4 * uncorrected.iloc[0]


# --- batches


def test_the_table_of_batches():
    table = read("batches", "moments").set_index(["negatives", "loss_name", "m"]).sort_index()
    losses = ("infonce", "sampled_softmax")
    for kind in batches.KINDS:
        cells = [
            "never" if np.isinf(size := table["overtaken_at"][kind, loss, m]) else f"{size:.2g}"
            for m in batches.FULL.sizes
            for loss in losses
        ]
        numbers = [cell if cell == "never" else f"{float(cell):.0f}" for cell in cells]
        assert f"| {kind} | {' | '.join(numbers)} |" in page("batches")
    variance = table["variance"]
    full = variance["full softmax", "infonce", batches.FULL.labels - 1]
    assert variance["uniform", "infonce", 8] < 0.55 * variance["uniform", "sampled_softmax", 8]
    for kind in batches.KINDS:
        assert abs(variance[kind, "sampled_softmax", 64] / full - 1) < 0.04
    assert table["bias_norm"]["full softmax", "infonce", batches.FULL.labels - 1] < 1e-12
    noise = variance + table["variance_inputs"]
    for kind, size in (("uniform", 200), ("popularity", 50), ("model", 30)):
        saved = noise[kind, "sampled_softmax", 8] - noise[kind, "infonce", 8]
        squares = table["bias_norm"] ** 2
        lost = squares[kind, "infonce", 8] - squares[kind, "sampled_softmax", 8]
        assert saved / lost == pytest.approx(size, rel=0.15), kind


@pytest.mark.slow
def test_the_error_is_that_of_simulated_batches():
    """64 examples, uniform, uncorrected: 5 standard errors, and without the bias it is rejected."""
    params, x, population = batches.setting()
    table = read("batches", "moments").set_index(["negatives", "loss_name", "m"]).sort_index()
    row = table.loc[("uniform", "infonce", 8)]
    rng = np.random.default_rng(0)
    labels, inputs = (np.asarray(params[key]) for key in ("labels", "inputs"))
    hidden = x @ inputs.T
    logits, size = hidden @ labels.T, 1024

    def gradient(rows, deltas):
        by_labels = deltas.T @ hidden[rows]
        by_inputs = (deltas @ labels).T @ x[rows]
        return np.concatenate([by_labels.ravel(), by_inputs.ravel()]) / len(rows)

    model = np.exp(logits - logits.max(1, keepdims=True))
    model /= model.sum(1, keepdims=True)
    exact = gradient(np.arange(len(x)), model - population)
    cdf, errors = population.cumsum(1), []
    for _ in range(400):
        rows = rng.integers(len(x), size=size)
        golds = (rng.random((size, 1)) > cdf[rows]).sum(1).clip(max=batches.FULL.labels - 1)
        wrong = rng.integers(batches.FULL.labels - 1, size=(size, 8))
        wrong += wrong >= golds[:, None]
        candidates = np.column_stack([golds, wrong])
        weights = np.exp(np.take_along_axis(logits[rows], candidates, 1))
        deltas = np.zeros((size, batches.FULL.labels))
        np.add.at(
            deltas, (np.arange(size)[:, None], candidates), weights / weights.sum(1, keepdims=True)
        )
        deltas[np.arange(size), golds] -= 1
        errors.append(((gradient(rows, deltas) - exact) ** 2).sum())
    noise = (row["variance"] + row["variance_inputs"]) / size
    spread = np.std(errors, ddof=1) / np.sqrt(len(errors))
    assert abs(np.mean(errors) - (row["bias_norm"] ** 2 + noise)) < 5 * spread
    assert abs(np.mean(errors) - noise) > 5 * spread


# --- presets


def test_what_the_figure_of_presets_says():
    """Corrected or distinct: down; hits removed: back again; in-batch InfoNCE: up."""
    bias = read("presets", "moments").pivot_table(index="preset", columns="m", values="bias_norm")
    most = max(presets.FULL.sizes)
    for name in ("bengio_senecal_2003", "bengio_senecal_2008", "log_uniform", "ranking_nce"):
        assert (np.diff(bias.loc[name]) < 0).all() and bias[most][name] < 0.1 * bias[1][name]
    assert bias[most]["paper"] < 0.1 * bias[1]["paper"]
    assert bias[most]["paper_replacement"] > 0.9 * bias[1]["paper_replacement"]
    for name in ("tfrs_in_batch", "mixed_negative_sampling"):
        assert bias[most][name] > bias[16][name]
    assert (np.diff(bias.loc["in_batch_infonce"]) > 0).all()


def test_the_table_of_presets():
    bias = read("presets", "moments").pivot_table(index="preset", columns="m", values="bias_norm")
    assert list(bias.columns) == list(presets.FULL.sizes)
    for line in page("presets").splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if name in bias.index:
            assert cells == [shown(value) for value in bias.loc[name]], name
    assert set(bias.index) == set(nb.presets.COMMON)
    kept, masked = bias.loc["tfrs_in_batch_with_hits"], bias.loc["tfrs_in_batch"]
    assert masked[4] < kept[4] and masked[64] > 6 * kept[64] and masked[64] > masked[16]
    assert kept[16] / kept[64] == pytest.approx(4, rel=0.2)  # 1/m
    assert (np.diff(bias.loc["in_batch_infonce"]) > 0).all()
    unique, repeats = bias.loc["tf_sampled_softmax"], bias.loc["tf_sampled_softmax_repeats"]
    assert unique[16] < 0.9 * repeats[16] and 6 * repeats[64] < masked[64]
    assert list(bias.index[bias.isna().any(axis=1)]) == ["tf_sampled_softmax"]
    cosine = read("presets", "moments").pivot_table(index="preset", columns="m", values="cosine")
    assert cosine.loc["in_batch_infonce", 64] == pytest.approx(-0.58, abs=0.005)
    assert (cosine.loc[["word2vec", "binary_nce"], 4:] < 0).all(axis=None)


# --- optimal


def test_the_table_of_optimal():
    table = read("optimal", "bias")
    bias = table.pivot_table(index="m", columns="negatives", values="bias_norm")
    for m, row in bias[["optimal", "uniform", "popularity", "model"]].iterrows():
        assert f"| {m} | {' | '.join(shown(value) for value in row)} |" in page("optimal")
    assert (bias["optimal"] <= bias.drop(columns="optimal").min(axis=1)).all()
    statuses = table[table["negatives"] == "optimal"].set_index("m")["status"]
    # what the page claims: no bias from 16 draws on, and some below; how the search ended at the
    # others may hang on the last bit of a sum
    assert (statuses.loc[16:] == "ok: zero reached").all() and len(statuses.loc[16:]) == 2
    assert (bias["optimal"].loc[16:] < 1e-6).all() and (bias["optimal"].loc[:8] > 5e-4).all()
    best = read("optimal", "proposals").groupby("m")
    assert (best.get_group(1)["q"] < 1e-9).sum() == 21
    many = best.get_group(16)
    assert 0.011 < many["q"].min() < many["q"].max() < 0.0251
    assert np.corrcoef(many["q"], many["population"])[0, 1] == pytest.approx(-0.83, abs=0.005)


@pytest.mark.slow
def test_the_best_proposal_is_unbiased_by_sampling():
    """Which shares no quadrature with the optimiser; uniform negatives are rejected."""
    shapes = read("optimal", "proposals")
    q = shapes[shapes["m"] == 16]["q"].to_numpy()
    for proposal, biased in ((nb.from_probabilities(q), False), (nb.uniform(), True)):
        sampler = nb.iid(proposal, 16, hits="mask")
        found = nb.monte_carlo(
            optimal.problem(), sampler, key=jax.random.key(0), draws=100_000, loss=nb.infonce
        )
        z = found.bias_norm_squared / found.standard_errors["bias_norm_squared"]
        assert (abs(z) > 5) == biased


def test_results_are_of_the_problems_of_the_scripts():
    """A table is that of its script: one cell of each computed again."""
    found = nb.exact(regimes.problem(), nb.iid(nb.uniform(), 8), split=False, tolerance=1e-6)
    norms = np.linalg.norm(np.asarray(found.bias), axis=1)
    table = read("regimes", "bias")
    place = (
        (table["draws"] == "independent") & (table["m"] == 8) & (table["negatives"] == "uniform")
    )
    np.testing.assert_allclose(table[place]["bias_norm"], norms, rtol=1e-5)
