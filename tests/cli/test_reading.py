"""Whatever format, type, byte order or layout a file has, its numbers are those that were saved."""

import pathlib
import tempfile
import warnings

import ml_dtypes
import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

import nce_bias as nb
from nce_bias.cli.arrays import load_array, load_integers

#: How an array is written, and how it is named to the command line.
FORMATS = {
    "npy": lambda path, array: np.save(path, array) or f"{path}",
    "npz of one": lambda path, array: np.savez(path, whatever=array) or f"{path}",
    "npz of several": lambda path, array: np.savez(path, scores=array, golds=array) or f"{path}",
    "npz by key": lambda path, array: np.savez(path, logits=array, other=[0.0]) or f"{path}:logits",
    "csv": lambda path, array: np.savetxt(path, wide(array), "%s", ",") or f"{path}",
    "csv below names": lambda path, array: (
        frame(wide(array)).to_csv(path, index=False) or f"{path}"
    ),
}
SUFFIXES = {name: f".{name.split()[0]}" for name in FORMATS}
TEXT = ("csv", "csv below names")


def wide(array):
    """In digits that a text of half precision would leave out."""
    return np.atleast_2d(array).astype(np.float64)


def frame(array):
    array = np.atleast_2d(array).astype(array.dtype.newbyteorder("="))
    return pd.DataFrame(array, columns=[f"label {number}" for number in range(array.shape[-1])])


def saved(kind, array, load, name="scores"):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", nb.UnusualInput)  # a header and a numbering get a word
        path = pathlib.Path(folder) / f"file{SUFFIXES[kind]}"
        return load(pathlib.Path(FORMATS[kind](path, array)), name)


@given(
    st.sampled_from(list(FORMATS)),
    st.sampled_from([np.float16, np.float32, np.float64, np.int16, np.int64, np.uint8]),
    st.sampled_from(["<", ">"]),
    st.sampled_from(["C", "F"]),
    st.lists(st.integers(0, 63), min_size=2, max_size=5),
    st.integers(1, 3),
    st.integers(-12, 6),
)
def test_scores_come_back(kind, dtype, order, layout, bits, rows, exponent):
    """Six bits of mantissa at a power of two, which every type and every decimal holds."""
    numbers = np.outer(np.arange(1, rows + 1), bits).astype(np.float64)
    if np.issubdtype(dtype, np.floating):
        numbers = (numbers - 31) * 2.0**exponent
    array = np.asarray(numbers, np.dtype(dtype).newbyteorder(order), order=layout)
    found = saved(kind, array, load_array)
    np.testing.assert_array_equal(found, wide(array)[0] if rows == 1 else wide(array))
    assert found.dtype.isnative
    narrow = dtype in (np.float16, np.float32) and not kind.startswith("csv")
    assert found.dtype == (np.float32 if narrow else np.float64)


@given(
    st.sampled_from(list(FORMATS)),
    st.floats(-1e300, 1e300) | st.just(-np.inf),
    st.floats(-1e-300, 1e-300),
)
def test_every_digit_and_size_comes_back(kind, large, small):
    array = np.array([[large, small, 1 / 3], [small, -1 / 3, large]])
    np.testing.assert_array_equal(saved(kind, array, load_array), array)


@given(
    st.sampled_from(list(FORMATS)),
    st.sampled_from([np.int8, np.uint16, np.int32, np.int64, np.float64]),
    st.sampled_from(["<", ">"]),
    st.lists(st.integers(0, 127), min_size=1, max_size=6),
)
def test_golds_come_back(kind, dtype, order, golds):
    whole = dtype is np.float64 and kind not in TEXT
    column = np.asarray(golds, np.dtype(np.int64 if whole else dtype).newbyteorder(order))[:, None]
    found = saved(kind, column, load_integers, "golds")
    np.testing.assert_array_equal(found, golds)
    assert found.dtype.kind in "iu"


def test_what_numpy_forgets_is_said():
    """bfloat16 comes back from a file as two raw bytes: a refusal with the remedy, no number."""
    array = np.array([1.0, 2.0]).astype(ml_dtypes.bfloat16)
    for kind in ("npy", "npz of one"):
        try:
            saved(kind, array, load_array)
        except ValueError as error:
            assert "forget bfloat16: save array.astype(np.float32)" in str(error)
        else:
            raise AssertionError(kind)
