"""`nce-bias`: the table is the library's, a refusal is one line, nothing finished is lost."""

import io
import pathlib
import pickle
import re
import shlex
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import nce_bias as nb
from nce_bias.cli import app, arrays, negatives, process
from nce_bias.proposals import log_proposal

# The package rebinds this name to the command function.
compare_module = sys.modules["nce_bias.cli._compare"]
ROOT = pathlib.Path(__file__).resolve().parents[2]
SCORES = [2.0, 1.0, 0.0, -1.0]
POPULATION = [0.6, 0.2, 0.15, 0.05]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments):
    """Standard error of a call that must end with exit code 2, one line and no traceback."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.stdout == ""
    line, end = done.stderr[:-1], done.stderr[-1:]
    assert end == "\n"
    assert "\n" not in line
    return line


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("scores.npy", SCORES)
    np.save("population.npy", POPULATION)
    return tmp_path


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
    for moments, line in zip(expected, _rows(done.stdout), strict=True):
        assert line[3:6] == [
            f"{moments.bias_norm:.4g}",
            f"{moments.cosine:.4f}",
            f"{moments.loss:.4g}",
        ]
        assert line[-1] == "exact"


def _rows(text):
    """Cells of the printed table's body."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in text.splitlines()
        if line.startswith("│")
    ]


def test_sampled_results_say_so_and_carry_their_error(files):
    done = run(
        *("compare", "scores.npy", "population.npy", "--m", "2", "--negatives", "uniform"),
        *("--monte-carlo", "--draws", "4000", "--seed", "3", "--hits", "keep", "--csv", "out.csv"),
    )
    assert done.exit_code == 0, done.output
    (row,) = _rows(done.stdout)
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
    assert _rows(done.stdout)[0][-1] == "Monte Carlo"


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
    rows = [(row[0], row[1], row[2]) for row in _rows(done.stdout)]
    assert rows == [
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
    assert [row[0] for row in _rows(done.stdout)] == compare_module.DEFAULT_NEGATIVES


def test_a_status_is_shown(files, monkeypatch):
    def troubled(*arguments):
        found = fake_moments(*arguments)
        found.to_frame().loc[:, "status"] = "known to 0.1 only [use float64]"
        return found

    monkeypatch.setattr(compare_module, "_moments", troubled)
    done = run("compare", "scores.npy", "population.npy", "--m", "1", "--negatives", "uniform")
    assert _rows(done.stdout)[0][-1] == "exact (!)"
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
    assert [row[2] for row in _rows(done.stdout)] == ["1"]
    assert pd.read_csv("out.csv")["m"].tolist() == [1]
    said = "m: too many." if isinstance(stop, ValueError) else "interrupted after 1 of 3 rows"
    assert done.stderr == f"wrote out.csv\nnce-bias: {said}\n"


# --- compare: what it refuses

BASE = ("compare", "scores.npy", "population.npy")


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


# --- files


class Malicious:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("touched"),)


def _npz(**named):
    buffer = io.BytesIO()
    np.savez(buffer, **named)
    return buffer.getvalue()


def _npy(values, **options):
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"1,2", "the suffix is '.txt'. Use .npy, .npz, .csv, .parquet."),
        ("a.npy", None, "there is no such file. Check the path."),
        (
            "a.npy",
            _npy(np.array([Malicious()], dtype=object), allow_pickle=True),
            "it holds Python objects, which are never unpickled. Save numbers: np.save(path, "
            "np.asarray(values, dtype=float)).",
        ),
        (
            "a.npz",
            _npz(scores=np.array([Malicious()], dtype=object)),
            "it holds Python objects, which are never unpickled. Save numbers: np.save(path, "
            "np.asarray(values, dtype=float)).",
        ),
        ("a.npy", pickle.dumps(Malicious()), "it cannot be read as .npy ("),
        ("a.npy", b"", "it cannot be read as .npy ("),
        ("a.npy", b"1.0,2.0\n", "it cannot be read as .npy ("),
        ("a.npy", _npy(np.zeros(100))[:-80], "it cannot be read as .npy ("),
        ("a.npz", b"PK\x03\x04 and then nothing of the kind", "it cannot be read as .npz ("),
        (
            "a.npz",
            _npz(first=np.zeros(2), second=np.zeros(2)),
            "it has 2 arrays, 'first', 'second', and none called 'scores'. Say which it is: "
            "a.npz:key.",
        ),
        (
            "a.npy",
            _npy(np.array([1j, 2.0])),
            "its values are of type complex128. Save real numbers: np.save(path, "
            "np.asarray(values, dtype=float)).",
        ),
        (
            "a.npy",
            _npy(np.array([1, 2], jnp.bfloat16)),
            "its values are of type |V2. NumPy's files forget bfloat16: save "
            "array.astype(np.float32).",
        ),
        ("a.npy", _npy(np.array(["a", "b"])), "its values are of type <U1. Save real"),
        ("a.npy", _npy(np.array([True, False])), "its values are of type bool. Save real"),
        (
            "a.csv",
            b"cat,7\n1.0,2.0\n",
            "it cannot be read as .csv (could not convert string 'cat' to float64 at row 0, "
            "column 1). Save plain numbers, comma-separated, below one row of names or none.",
        ),
        ("a.csv", b"1.0,2.0\n3.0\n", "it cannot be read as .csv (the number of columns changed"),
        ("a.csv", b"1.0,,2.0\n", "it cannot be read as .csv (could not convert string ''"),
        ("a.csv", b"", "it cannot be read as .csv (loadtxt: input contained no data"),
        ("a.csv", b"\xff\xfe\x00", "it cannot be read as .csv ('utf-8' codec can't decode"),
    ],
)
def test_files_refused(name, content, message, files):
    if content is not None:
        pathlib.Path(name).write_bytes(content)
    said = refused("compare", name, "population.npy")
    assert said.startswith(f"nce-bias: scores {name}: {message}")
    assert said.endswith((".", ")."))
    assert not pathlib.Path("touched").exists()


def test_a_header_that_promises_too_much_is_refused(files):
    with open("a.npy", "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (3 * 10**14,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(24))
    assert refused("compare", "a.npy", "population.npy").startswith(
        "nce-bias: scores a.npy: it cannot be read as .npy ("
    )


def test_a_folder_is_refused(files):
    pathlib.Path("a.npy").mkdir()
    message = refused("compare", "a.npy", "population.npy")
    assert message == "nce-bias: scores a.npy: it is a folder. Check the path."


def test_damaged_archives_are_refused(files):
    content = bytearray(_npz(scores=np.arange(100.0)))
    start = content.index(b"NUMPY") + 200
    content[start] ^= 0xFF  # fails the checksum
    pathlib.Path("a.npz").write_bytes(content)
    message = refused("compare", "a.npz", "population.npy")
    assert message.startswith("nce-bias: scores a.npz: it cannot be read as .npz (Bad CRC-32")


@pytest.mark.parametrize(
    ("name", "content", "expected", "dtype"),
    [
        ("a.npy", _npy(np.array([1, 2], np.float32)), [1, 2], np.float32),
        ("a.npy", _npy(np.array([1, 2], np.float16)), [1, 2], np.float32),
        ("a.npy", _npy(np.array([1, 2])), [1, 2], np.float64),
        ("a.npy", _npy(np.array([1, 2], ">f8")), [1, 2], np.float64),
        ("a.npy", _npy(np.array([1, 2], ">f4")), [1, 2], np.float32),
        ("a.npy", _npy(np.array([1, 2], np.longdouble)), [1, 2], np.float64),
        # one row is one input, as in a .csv
        ("a.npy", _npy(np.array([[1, -np.inf]])), [1, -np.inf], np.float64),
        ("a.npz", _npz(anything=np.array([1.0, 2.0])), [1, 2], np.float64),
        ("a.npz", _npz(q=np.zeros(2), scores=np.array([1.0, 2.0])), [1, 2], np.float64),
        ("a.csv", b"1,2.5\n-inf,4\n", [[1, 2.5], [-np.inf, 4]], np.float64),
        ("a.csv", b"1,2.5\n", [1, 2.5], np.float64),
        ("a.csv", b"\xef\xbb\xbf1\n2.5\n", [1, 2.5], np.float64),
    ],
)
def test_files_read(name, content, expected, dtype, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    values = arrays.load_array(path, "scores")
    assert values.tolist() == expected
    assert values.dtype == dtype


def test_own_distribution_from_a_file(files):
    np.save("q.npy", [0.1, 0.2, 0.3, 0.4])
    proposal = negatives.parse_proposal("0.5*from_probabilities:q.npy+0.5*uniform")
    log_q = log_proposal(proposal, jnp.zeros(4), jnp.full(4, 0.25))
    assert np.exp(log_q) == pytest.approx([0.175, 0.225, 0.275, 0.325], rel=1e-12)


def test_sums_of_three_keep_their_shares():
    proposal = negatives.parse_proposal("0.2*uniform+0.3*model+0.5*popularity:power=0")
    log_q = log_proposal(proposal, jnp.log(jnp.array([0.5, 0.3, 0.2])), jnp.array([0.6, 0.3, 0.1]))
    # uniform and popularity to the power 0 are both 1/3
    assert np.exp(log_q) == pytest.approx(0.7 / 3 + 0.3 * np.array([0.5, 0.3, 0.2]), rel=1e-12)


# --- help, version, start


def example(*command):
    """The commands shown by ``--help``, one string each."""
    text = run(*command, "--help").stdout.replace("\\\n", " ")
    return re.findall(r"^ *\$ (.*)$", text, flags=re.MULTILINE)


def test_the_example_of_compare_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *before, shown = example("compare")
    assert len(before) == 2
    for line in before:
        subprocess.run(line, shell=True, check=True)
    program, *arguments = shlex.split(shown)
    assert program == "nce-bias"
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert [row[0] for row in _rows(done.stdout)] == ["uniform"] * 3 + ["model:T=2"] * 3


def test_the_example_of_the_whole_runs():
    (shown,) = example()
    assert run(*shlex.split(shown)[1:]).exit_code == 0


def test_version():
    assert run("--version").stdout == f"nce-bias {nb.__version__}\n"


def test_the_command_line_starts_without_what_it_may_not_need():
    program = (
        "import sys, nce_bias.cli; "
        "print(*(n for n in ('pandas', 'matplotlib', 'optax') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_zip_errors_are_among_the_unreadable():
    assert zipfile.BadZipFile in arrays.UNREADABLE


# --- what is compiled is kept


def _jax(folder, told):
    """What `process` asks of JAX, in a process that was told of `folder`."""
    config = SimpleNamespace(jax_compilation_cache_dir=folder, update=told.__setitem__)
    return SimpleNamespace(config=config)


def test_compilations_are_kept_where_they_can_be(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(process, "jax", _jax(None, told))
    monkeypatch.setattr(process.platformdirs, "user_cache_path", lambda name: tmp_path / name)
    assert process.keep_compilations() == tmp_path / "nce-bias" / "jax"
    assert told["jax_compilation_cache_dir"] == str(tmp_path / "nce-bias" / "jax")
    assert list((tmp_path / "nce-bias" / "jax").iterdir()) == []
    told.clear()
    (tmp_path / "file").touch()
    assert process.keep_compilations(tmp_path / "file") is None
    assert told == {}


def test_the_users_own_cache_is_left_alone(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(process, "jax", _jax("/mine", told))
    assert process.keep_compilations(tmp_path) == pathlib.Path("/mine")
    assert told == {}


@pytest.mark.slow
def test_a_second_process_compiles_nothing(files, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(files / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    call = [sys.executable, "-c", "from nce_bias.cli import app; app()", *BASE, "--m", "2"]
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [*call, "--negatives", "uniform", "--monte-carlo", "--draws", "64"],
            capture_output=True,
            text=True,
            check=True,
        )
        kept = sorted(p.name for p in (files / "cache").rglob("*-cache"))
        outputs.append((done.stdout, kept))
    assert outputs[0] == outputs[1]
    assert outputs[0][1]


# --- what looks like a mistake


@pytest.mark.parametrize(
    ("options", "what", "shape"),
    [
        ({"header": False}, "the first column counts 0, as the index", "5 labels, 1 input"),
        (
            {"index": False},
            "the first row counts 0, 1, 2, ..., as the header",
            "4 labels, 2 inputs",
        ),
    ],
)
def test_a_header_or_index_that_came_as_data(options, what, shape, files):
    for name, row in (("a.csv", [0.5, -0.2, 0.1, -0.7]), ("b.csv", [0.4, 0.3, 0.2, 0.1])):
        pd.DataFrame([row]).to_csv(name, **options)
    if "index" in options:  # a header is no distribution: refused, and the word said before
        message = run("compare", "a.csv", "b.csv").stderr
    else:
        done = run("compare", "a.csv", "b.csv", "--m", "2", "--negatives", "uniform")
        assert done.exit_code == 0, done.output
        assert shape in done.stdout
        message = done.stderr
    assert message.startswith(
        f"nce-bias: note: scores a.csv: {what} of a table does; it is taken for numbers like the "
        "others. Leave it out, as by to_csv(path, index=False, header=False), or write 0.0 for a "
        "number that is meant.\n"
    )


@pytest.mark.parametrize(
    "rows", ["0.5,-0.2\n", "0,2.5\n1.5,2\n", "2.0,1.0\n0.0,-1.0\n", "3,1\n2,5\n"]
)
def test_numbers_that_do_not_count_are_taken_silently(rows, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(rows)
    arrays.load_array(path, "scores")  # a warning would be an error


def test_a_float32_softmax_and_a_mask_from_files(files):
    z = np.array([1.1, 0.3, -0.2, 0.7], np.float32)
    np.save("q.npy", (np.exp(z) / np.exp(z).sum(dtype=np.float32)).astype(np.float64))
    np.save("s.npy", [[0.5, -0.2, 0.1, -0.7]])  # one row is one input, whatever the file
    call = ("--m", "2", "--negatives", "uniform", "--csv", "out.csv")
    done = run("compare", "s.npy", "q.npy", *call)
    assert done.exit_code == 0, done.output
    row = pd.read_csv("out.csv").iloc[0]
    assert row["bias_norm"] == pytest.approx(0.0273370841, abs=1e-9)
    assert str(row["method"]).endswith("probabilities renormalised by 3e-08")
    np.save("s.npy", np.array([0.5, -0.2, 0.1, np.finfo(np.float32).min], np.float32))
    np.save("p.npy", [0.4, 0.3, 0.2, 0.1])
    done = run("compare", "s.npy", "p.npy", *call)
    assert done.exit_code == 0, done.output
    assert pd.read_csv("out.csv").iloc[0]["bias_norm"] == pytest.approx(0.0344490428, abs=1e-9)


def test_a_header_of_names_is_passed_over_and_said(files):
    pathlib.Path("a.csv").write_text('cat,"dog",cow,hen\n2.0,1.0,0.0,-1.0\n')
    done = run("compare", "a.csv", "population.npy", "--m", "2", "--negatives", "uniform")
    assert done.exit_code == 0, done.output
    assert "4 labels, 1 input" in done.stdout
    assert done.stderr == (
        "nce-bias: note: scores a.csv: the first row, cat, dog, cow, ..., is taken for a header.\n"
    )


def test_a_key_chooses_among_the_arrays_of_an_archive(files):
    np.savez("all.npz", first=SCORES, second=POPULATION)
    plain = run("compare", "scores.npy", "population.npy", "--m", "2")
    keyed = run("compare", "all.npz:first", "all.npz:second", "--m", "2")
    assert keyed.exit_code == 0, keyed.output
    assert keyed.stdout == plain.stdout
    said = refused("compare", "all.npz:third", "population.npy")
    assert "it has 2 arrays, 'first', 'second', and none called 'third'" in said


def test_parquet_is_read_if_pandas_can(files, monkeypatch):
    pathlib.Path("a.parquet").write_bytes(b"PAR1")
    frame = pd.DataFrame([SCORES])
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    plain = run("compare", "scores.npy", "population.npy", "--m", "2")
    assert run("compare", "a.parquet", "population.npy", "--m", "2").stdout == plain.stdout

    def absent(path):
        raise ImportError("Unable to find a usable engine; tried using: 'pyarrow'.\nMore follows.")

    monkeypatch.setattr(pd, "read_parquet", absent)
    assert refused("compare", "a.parquet", "population.npy") == (
        "nce-bias: scores a.parquet: it cannot be read as .parquet (Unable to find a usable "
        "engine; tried using: 'pyarrow'). Save it as .npy, or give pandas what it needs to read it."
    )


@pytest.mark.parametrize(
    ("word", "spec"),
    [
        ("random", "uniform"),
        ("unigram:power=0.75", "popularity:power=0.75"),
        ("hard", "model"),
        ("hard:T=2", "model:T=2"),
        ("mixed", "0.5*uniform+0.5*model"),
        ("0.5*random+0.5*hard", "0.5*uniform+0.5*model"),
    ],
)
def test_the_fields_other_words(word, spec):
    assert repr(negatives.parse_proposal(word)) == repr(negatives.parse_proposal(spec))
