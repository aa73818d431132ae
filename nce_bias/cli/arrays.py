"""Arrays from files: .npy, .npz and .csv, never unpickled, every refusal naming file and remedy."""

import pathlib
import warnings
import zipfile
import zlib

import numpy as np

SUFFIXES = (".npy", ".npz", ".csv")
# What reading a damaged, foreign or absent file of these formats can raise. UnicodeDecodeError and
# the parsing errors of NumPy are ValueErrors; an absurd size in a header is a MemoryError.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    MemoryError,
    SyntaxError,
    UserWarning,
    zipfile.BadZipFile,
    zlib.error,
)


def load_array(path: pathlib.Path, name: str) -> np.ndarray:
    """Read an array of real numbers.

    Parameters
    ----------
    path
        ``.npy``; ``.npz`` with one array, or with one called `name`; ``.csv`` of numbers without
        a header, one row for each input and one column for each label (a single row or column
        is one input).
    name
        What the array is ("scores", "population", ...), for messages and for ``.npz``.

    Returns
    -------
    array
        float16 and integers become float32 and float64; float32 and float64 stay as they are.

    Raises
    ------
    ValueError
        In one line: the file, what is wrong with it, and what to do.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise _refuse(name, path, f"the suffix is {suffix!r}", f"Use {', '.join(SUFFIXES)}.")
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise _refuse(name, path, what, "Check the path.")
    try:
        values = _read_csv(path) if suffix == ".csv" else _read_numpy(path, name)
    except UNREADABLE as error:
        if isinstance(error, ValueError) and "Object arrays" in str(error):
            raise _refuse(
                name,
                path,
                "it holds Python objects, which are never unpickled",
                "Save numbers: np.save(path, np.asarray(values, dtype=float)).",
            ) from error
        remedy = (
            "Save plain numbers, comma-separated, without a header."
            if suffix == ".csv"
            else "Save it again with np.save or np.savez."
        )
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise _refuse(name, path, f"it cannot be read as {suffix} ({reason})", remedy) from error
    if values.dtype.kind not in "fiu":
        raise _refuse(
            name,
            path,
            f"its values are of type {values.dtype}",
            "Save real numbers: np.save(path, np.asarray(values, dtype=float)).",
        )
    if values.dtype == np.float16:
        return values.astype(np.float32)
    if values.dtype.kind in "iu" or values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return values


def _read_csv(path: pathlib.Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # an empty file is only a warning to NumPy
        values = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")
    return values.reshape(-1) if 1 in values.shape else values


def _read_numpy(path: pathlib.Path, name: str) -> np.ndarray:
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        if len(loaded.files) == 1:
            return loaded[loaded.files[0]]
        if name in loaded.files:
            return loaded[name]
        raise ValueError(
            f"it has {len(loaded.files)} arrays, {', '.join(map(repr, loaded.files))}, "
            f"and none called {name!r}"
        )


def _refuse(name: str, path: pathlib.Path, what: str, remedy: str) -> ValueError:
    return ValueError(f"{name} {path}: {what}. {remedy}")
