"""`analysis/claims`: the rule of the verdict, what is committed, the pages and the sheet."""

import pathlib

import numpy as np
import pytest

import nce_bias as nb
from analysis.claims import figure, page, rates
from analysis.claims import run as claims
from analysis.claims.docket import TRIALS
from analysis.claims.optimum import at_rest
from analysis.claims.trial import Reading, telling, verdict
from analysis.claims.trials import (
    one_vs_each,
)
from tests.analysis.claim_tables import table

VERDICTS = {
    "confirmed": {
        "nce_efficiency",
        "ranking_efficiency",
        "exponential_variance",
        "small_batches",
        "shifted_pmi",
        "number_of_tries",
        "blackout",
        "one_vs_each",
        "log_k",
        "rate",
        "debiasing",
        "noise_at_data",
        "uniform_mixed_in",
        "one_draw",
        "ring",
        "infinite_negatives",
        "calibration",
        "sigmoid_batches",
    },
    "true under a condition": {
        "finite_cost",
        "best_noise",
        "collisions",
        "adversarial_weights",
        "shared_noise",
        "three_quarters",
        "quadratic_kernel",
        "log_q_in_batch",
        "in_batch_gradients",
        "no_optimum",
        "resampling",
        "corrected_log_q",
    },
    "refuted": {"top_of_pool", "closeness"},
}


def test_the_rule():
    held, failed = Reading("a", 1.0, "<=", 2.0), Reading("b", 3.0, "<=", 2.0)
    beyond = Reading("c", 3.0, "<=", 2.0, beyond=True)
    assert verdict([held, held]) == "confirmed" == verdict([held, beyond])
    assert verdict([failed, failed]) == "refuted"
    assert verdict([held, failed]) == "true under a condition"
    assert telling([held, beyond, failed]) is failed
    assert telling([held, beyond]) is beyond
    assert telling([held, held]) is held
    with pytest.raises(ValueError, match="got none of the claim's own; expected at least one"):
        verdict([beyond])


@pytest.mark.parametrize(
    ("relation", "holding"), [("=", (0.9, 1.1)), ("<=", (-5.0, 1.1)), (">=", (0.9, 5.0))]
)
def test_a_reading_holds_within_its_slack(relation, holding):
    slack = 0.1 + 1e-12
    for value in (-5.0, 0.8, 0.9, 1.1, 1.2, 5.0):
        found = Reading("a", value, relation, 1.0, slack).holds
        assert found == (holding[0] <= value <= holding[1]), value


def test_rates():
    assert rates.slope((1, 10, 40), (5.0, 4.0, 1.0)) == pytest.approx(-1.0)
    assert rates.needed(4.0, (1, 2, 8), (32.0, 8.0, 2.0)) == pytest.approx(4.0)  # 8/m from 2 on
    assert rates.needed(128.0, (1, 2), (32.0, 8.0)) == pytest.approx(0.5)
    assert rates.needed(1.0, (1, 2), (32.0, 8.0)) == np.inf


def test_a_trial_needs_a_fixed_point():
    sampler = nb.iid(nb.popularity(), 3, hits="keep")  # gradients beyond -pop, which it cannot take
    with pytest.raises(RuntimeError, match=r"fixed point of bpr .* did not converge"):
        at_rest(one_vs_each.problem(), sampler, nb.bpr)


def test_verdicts_follow_from_the_readings():
    readings, rows = table("readings"), table("claims").set_index("claim")
    assert set(rows.index) == set(TRIALS) == set().union(*VERDICTS.values())
    for name, found in readings.groupby("claim"):
        own = found[~found["beyond"]]["holds"]
        expected = ["refuted", "true under a condition", "confirmed"][int(own.any()) + own.all()]
        assert rows.loc[name, "verdict"] == expected
        assert name in VERDICTS[expected]
    for row in readings.itertuples():
        off = row.number - row.expected
        # Slack is at most .01 (the share of a pool that counts as nothing), rounding for the rest.
        slack = 0.0101 if row.claim == "top_of_pool" else 1e-7
        met = {"=": abs(off) <= slack, "<=": off <= slack, ">=": off >= -slack}[row.relation]
        assert met == row.holds, row


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
def test_each_verdict_is_found_again(name):
    found = TRIALS[name].weigh(True)
    assert name in VERDICTS[verdict(found.readings)]


# --- pages and sheet


@pytest.mark.parametrize("path", [page.README, page.DOCS], ids=lambda path: path.name)
def test_the_pages_show_the_committed_tables(path: pathlib.Path):
    text = path.read_text(encoding="utf-8")
    assert page.refreshed(text) == text
    assert text.count("**confirmed**") >= len(VERDICTS["confirmed"])
    assert "figures/claims.png" in text


def test_each_claim_has_a_panel():
    assert set(figure.PANELS) == set(TRIALS)


@pytest.mark.slow
def test_the_sheet_is_drawn(tmp_path):
    (path,) = figure.draw(page.RESULTS, tmp_path)
    assert path.stat().st_size > 100_000


@pytest.mark.slow
def test_a_quick_run_leaves_out_what_compiles(monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "QUICK", claims.Design(quick=True, claims=("rate", "resampling")))
    claims.run(tmp_path / "results", quick=True)
    written = {path.name for path in (tmp_path / "results").iterdir()}
    assert written == {"claims.csv", "readings.csv", "rate.csv", "resampling.csv", "meta.json"}
    (png,) = figure.draw(tmp_path / "results", tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
