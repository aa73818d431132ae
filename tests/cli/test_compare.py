"""`nce-bias compare`: the table is the library's, a refusal one line, nothing finished is lost."""

import pathlib
import sys

import pandas as pd
import pytest

import nce_bias as nb
from nce_bias.cli import negatives
from tests.cli.commands import BASE, POPULATION, SCORES, refused, rows, run

# The package rebinds this name to the command function.
compare_module = sys.modules["nce_bias.cli._compare"]


# --- compare: what it says


def test_the_table_is_what_the_library_says(files):
    done = run(
        *("compare", "scores.npy", "population.npy", "--m", "2", "--csv", "out.csv"),
        *("--negatives", "uniform", "--negatives", "0.25*uniform+0.75*model:T=2"),
        *("--loss", "infonce", "--hits", "keep"),
    )
    assert done.exit_code == 0, done.output
    problem = nb.Problem(SCORES, POPULATION)
    proposals = [nb.uniform(), nb.mixture(nb.uniform(), nb.model(2.0), 0.25)]
    expected = [nb.exact(problem, nb.iid(q, 2, hits="keep")) for q in proposals]
    table = pd.read_csv("out.csv", dtype=str)  # Python's float() reads back what was written
    assert table["negatives"].tolist() == ["uniform", "0.25*uniform+0.75*model:T=2"]
    assert table["m"].tolist() == ["2", "2"]
    for column in ("bias_norm", "cosine", "loss", "error"):
        assert [float(v) for v in table[column]] == [float(getattr(e, column)) for e in expected], (
            column
        )
    assert "Problem(4 labels, 1 input, entropy 1.063 nats" in done.stdout
    assert "float64" in done.stdout
    for moments, line in zip(expected, rows(done.stdout), strict=True):
        assert line[3:6] == [
            f"{moments.bias_norm:.4g}",
            f"{moments.cosine:.4f}",
            f"{moments.loss:.4g}",
        ]
        assert line[-1] == "exact"


def test_sampled_results_say_so_and_carry_their_error(files):
    done = run(
        *("compare", "scores.npy", "population.npy", "--m", "2", "--negatives", "uniform"),
        *("--monte-carlo", "--draws", "4000", "--seed", "3", "--hits", "keep", "--csv", "out.csv"),
    )
    assert done.exit_code == 0, done.output
    (row,) = rows(done.stdout)
    assert row[-1] == "Monte Carlo"
    assert "±" in row[3]
    table = pd.read_csv("out.csv").iloc[0]
    exact = nb.exact(nb.Problem(SCORES, POPULATION), nb.iid(nb.uniform(), 2, hits="keep"))
    # one fixed seed: 4 standard errors is what one draw in 16,000 exceeds
    assert abs(table["loss"] - float(exact.loss)) < 4 * table["loss_se"]
    assert table["loss_se"] > 0


def test_what_has_no_exact_method_is_sampled(files, monkeypatch):
    def no_method(*arguments):
        raise nb.NoExactMethod("use nb.monte_carlo")

    monkeypatch.setattr(compare_module, "exact", no_method)
    done = run(
        *("compare", "scores.npy", "population.npy", "--m", "2", "--negatives", "uniform"),
        *("--draws", "64", "--hits", "keep"),
    )
    assert done.exit_code == 0, done.output
    assert rows(done.stdout)[0][-1] == "Monte Carlo"


class Fake:
    def __init__(self, table):
        self.table = table

    def to_frame(self):
        return self.table


def fake_moments(problem, sampler, loss, *rest):
    """In no time, and different in each cell."""
    table = pd.DataFrame(
        [{"loss_name": loss, "loss": 1.0, "bias_norm": 0.1 * sampler.m, "cosine": 0.5}]
    )
    table = table.assign(error=1e-14, method="exact, 1 node", status="ok", sampler=repr(sampler))
    return Fake(table)


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(compare_module, "_moments", fake_moments)


def test_every_negatives_m_and_loss_gets_a_row(files, fast):
    done = run(
        *("compare", "scores.npy", "population.npy", "--m", "1,16"),
        *(
            "--negatives",
            "uniform",
            "--negatives",
            "top",
            "--loss",
            "infonce",
            "--loss",
            "ranking_nce",
        ),
        *("--csv", "out.csv", "--plot", "out.png"),
    )
    # top(m=16) of 4 labels is refused by the engine, which is faked here
    assert done.exit_code == 0, done.output
    found = [(row[0], row[1], row[2]) for row in rows(done.stdout)]
    assert found == [
        (name, loss, m)
        for loss in ("infonce", "ranking_nce")
        for name in ("uniform", "top")
        for m in ("1", "16")
    ]
    assert pathlib.Path("out.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv("out.csv")) == 8
    assert done.stderr == "wrote out.csv\nwrote out.png\n"


def test_without_negatives_the_four_of_the_paper_are_compared(files, fast):
    done = run("compare", "scores.npy", "population.npy", "--m", "1")
    assert [row[0] for row in rows(done.stdout)] == compare_module.DEFAULT_NEGATIVES


def test_a_status_is_shown(files, monkeypatch):
    def troubled(*arguments):
        found = fake_moments(*arguments)
        found.to_frame().loc[:, "status"] = "known to 0.1 only [use float64]"
        return found

    monkeypatch.setattr(compare_module, "_moments", troubled)
    done = run("compare", "scores.npy", "population.npy", "--m", "1", "--negatives", "uniform")
    assert rows(done.stdout)[0][-1] == "exact (!)"
    assert "(!) known to 0.1 only [use float64]" in done.stdout


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), ValueError("m: too many.")])
def test_rows_computed_before_a_stop_are_kept(files, monkeypatch, stop):
    def second_stops(problem, sampler, *rest):
        if sampler.m == 4:
            raise stop
        return fake_moments(problem, sampler, *rest)

    monkeypatch.setattr(compare_module, "_moments", second_stops)
    done = run(
        *("compare", "scores.npy", "population.npy", "--m", "1,4,16", "--negatives", "uniform"),
        *("--csv", "out.csv"),
    )
    assert done.exit_code == 2
    assert [row[2] for row in rows(done.stdout)] == ["1"]
    assert pd.read_csv("out.csv")["m"].tolist() == [1]
    said = "m: too many." if isinstance(stop, ValueError) else "interrupted after 1 of 3 rows"
    assert done.stderr == f"wrote out.csv\nnce-bias: {said}\n"


# --- compare: what it refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--negatives", "unifrom"),
            "--negatives unifrom: 'unifrom' is not known; known are uniform, popularity, "
            "log_uniform, model, from_probabilities, top, sums such as 0.5*uniform+0.5*model.",
        ),
        (
            ("--negatives", "model:power=2"),
            "--negatives model:power=2: 'power=2' is no parameter; known parameters are "
            "temperature=NUMBER.",
        ),
        (
            ("--negatives", "uniform:T=2"),
            "--negatives uniform:T=2: 'T=2' is no parameter; known parameters are none.",
        ),
        (
            ("--negatives", "model:T=cold"),
            "--negatives model:T=cold: temperature is 'cold'; expected a number.",
        ),
        (
            ("--negatives", "model:T=0"),
            "--negatives model:T=0: temperature: got 0.0; expected a number > 0. For the "
            "highest-scoring labels themselves use nb.top(m).",
        ),
        (
            ("--negatives", "0.5*uniform+0.6*model"),
            "--negatives 0.5*uniform+0.6*model: the shares are 0.5, 0.6; expected numbers >= 0 "
            "that sum to 1.",
        ),
        (
            ("--negatives", "-1*uniform+2*model"),
            "--negatives -1*uniform+2*model: the shares are -1, 2; expected numbers >= 0 that sum "
            "to 1.",
        ),
        (
            ("--negatives", "uniform+model"),
            "--negatives uniform+model: 'uniform' has no share; write 0.5*uniform, all shares "
            "summing to 1.",
        ),
        (
            ("--negatives", "half*uniform+0.5*model"),
            "--negatives half*uniform+0.5*model: a share is 'half'; expected a number.",
        ),
        (
            ("--negatives", "0.5*uniform+0.5*top"),
            "--negatives 0.5*uniform+0.5*top: top is no distribution and cannot be part of a sum "
            "or take parameters; write --negatives top.",
        ),
        (
            ("--negatives", "from_probabilities"),
            "--negatives from_probabilities: name a file, from_probabilities:q.npy.",
        ),
        (
            ("--negatives", "from_probabilities:q.npy"),
            "q q.npy: there is no such file. Check the path.",
        ),
        (
            ("--loss", "info"),
            "--loss: 'info' is not known; known are infonce, sampled_softmax, "
            "sampled_softmax_both, ranking_nce, self_normalized, binary_nce, negative_sampling.",
        ),
        (
            ("--hits", "drop"),
            "--hits: 'drop' is not known; known are exclude, mask, mask_last, keep.",
        ),
        (
            ("--sampler", "poison"),
            "--sampler: 'poison' is not known; known are iid, without_replacement, poisson.",
        ),
        (("--m", "4,x"), "--m: got '4,x'; expected whole numbers >= 1, such as 4,16,64."),
        (("--m", "0"), "--m: got '0'; expected whole numbers >= 1, such as 4,16,64."),
        (
            ("--csv", "no/out.csv"),
            "--csv: no/out.csv lies in a folder that does not exist. Name a file in an existing "
            "folder.",
        ),
        (("--plot", "."), "--plot: . is a folder. Name a file in an existing folder."),
        (("--plot", "out.bmp"), "--plot: out.bmp should end in .png, .pdf, .svg, .pgf."),
        (
            ("--popularity", "scores.npy"),
            "popularity: it has the negative entry -1 at label 3; expected probabilities >= 0. "
            "Pass probabilities, not log-probabilities or scores.",
        ),
        (
            ("--sampler", "without_replacement", "--m", "4", "--negatives", "uniform"),
            "m: without_replacement(uniform, m=4) asks for 4 distinct wrong labels of 4 labels; "
            "expected m <= V - 1 = 3. Lower m, or draw with replacement by nb.iid.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_refused(arguments, message, files):
    assert refused(*BASE, *arguments) == f"nce-bias: {message}"


def test_known_losses_and_samplers_are_the_librarys():
    # The messages above list them by hand; this says when one is added.
    assert list(nb.LOSSES)[:4] == [
        "infonce",
        "sampled_softmax",
        "sampled_softmax_both",
        "ranking_nce",
    ]
    assert negatives.DRAWN[:2] == ["iid", "without_replacement"]


def test_the_wrong_way_round_is_noticed(files):
    """A word about scores that are probabilities, and then why it cannot be."""
    done = run("compare", "population.npy", "scores.npy")
    assert done.exit_code == 2
    said, refusal = done.stderr.splitlines()
    assert said.startswith("nce-bias: note: scores: every row consists of probabilities")
    assert refusal.startswith("nce-bias: population: it has the negative entry -1 at label 3")
