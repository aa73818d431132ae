"""Files that the command line reads, refuses, or wonders about."""

import io
import pathlib
import pickle

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from nce_bias.cli import arrays, negatives
from nce_bias.proposals import log_proposal
from tests.cli.commands import POPULATION, SCORES, refused, run

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
    found = arrays.load_array(path, "scores")  # a warning would be an error
    assert found.ravel().tolist() == [
        float(number) for number in rows.replace("\n", ",").split(",")[:-1]
    ]


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
