"""Arrays from files: .npy, .npz, .csv and .parquet, never unpickled; refusals name the remedy."""

import pathlib
import warnings
import zipfile
import zlib

import numpy as np

from nce_bias._gate import read, read_integers, remark

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")
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
        ``.npy``; ``.npz`` with one array, with one called `name`, or ``file.npz:key``; ``.csv`` of
        numbers, one row for each input and one column for each label, with or without a header of
        names; ``.parquet`` of the same form, if pandas can read it. (A single row is one input, in
        a ``.csv`` a single column too.)
    name
        What the array is ("scores", "population", ...), for messages and for ``.npz``.

    Returns
    -------
    array
        Half precision becomes float32, integers and long doubles float64, each in the machine's
        byte order; float32 and float64 stay as they are.

    Raises
    ------
    ValueError
        In one line: the file, what is wrong with it, and what to do.

    Warns
    -----
    UnusualInput
        A ``.csv`` whose first row or column counts 0, 1, 2, ... in whole numbers, as the header or
        the index of a table does.
    """
    values = _load(path, name)
    if values.dtype.kind not in "fiu":
        raw = values.dtype.kind == "V" and not values.dtype.names
        raise _refuse(
            name,
            path,
            f"its values are of type {values.dtype}",
            "NumPy's files forget bfloat16: save array.astype(np.float32)."
            if raw
            else "Save real numbers: np.save(path, np.asarray(values, dtype=float)).",
        )
    numbers = read(name, values)
    assert isinstance(numbers, np.ndarray)
    return numbers[0] if numbers.ndim == 2 and len(numbers) == 1 else numbers


def load_integers(path: pathlib.Path, name: str) -> np.ndarray:
    """Read whole numbers, one for each input; text formats hold them as such: 3 or 3.0.

    Raises ValueError as `load_array` does, and for numbers that are not whole.
    """
    values = np.squeeze(_load(path, name))
    values = values[None] if values.ndim == 0 else values
    text = path.suffix.lower() in (".csv", ".parquet")
    if text and values.dtype.kind == "f" and np.all(values == np.rint(values)):
        values = values.astype(np.int64)
    return read_integers(name, values)


def _load(path: pathlib.Path, name: str) -> np.ndarray:
    """Whatever numbers a file holds."""
    path, key = _with_key(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise _refuse(name, path, f"the suffix is {suffix!r}", f"Use {', '.join(SUFFIXES)}.")
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise _refuse(name, path, what, "Check the path.")
    try:
        return _READERS.get(suffix, _read_numpy)(path, key or name)
    except LookupError as error:
        raise _refuse(name, path, str(error), f"Say which it is: {path.name}:key.") from error
    except UNREADABLE as error:
        if isinstance(error, ValueError) and "Object arrays" in str(error):
            raise _refuse(
                name,
                path,
                "it holds Python objects, which are never unpickled",
                "Save numbers: np.save(path, np.asarray(values, dtype=float)).",
            ) from error
        remedies = {
            ".csv": "Save plain numbers, comma-separated, below one row of names or none.",
            ".parquet": "Save it as .npy, or give pandas what it needs to read it.",
        }
        remedy = remedies.get(suffix, "Save it again with np.save or np.savez.")
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise _refuse(name, path, f"it cannot be read as {suffix} ({reason})", remedy) from error


def _with_key(path: pathlib.Path) -> tuple[pathlib.Path, str]:
    """``file.npz:key`` taken apart; other paths have no key."""
    place, colon, key = str(path).rpartition(":")
    if colon and place.lower().endswith(".npz"):
        return pathlib.Path(place), key
    return path, ""


def _read_csv(path: pathlib.Path, name: str) -> np.ndarray:
    skipped = _header(path, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # an empty file is only a warning to NumPy
        values = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig", skiprows=skipped)
    if not skipped:
        _remark_on_numbering(path, name)
    return values.reshape(-1) if 1 in values.shape else values


def _header(path: pathlib.Path, name: str) -> int:
    """How many rows stand above the numbers: one of names, which gets a word, or none."""
    with path.open(encoding="utf-8-sig") as file:
        cells = [cell.strip().strip('"') for cell in file.readline().split(",")]
    if any(not cell or _is_number(cell) for cell in cells) or cells[0].startswith("#"):
        return 0
    names = ", ".join(cells[:3]) + (", ..." if len(cells) > 3 else "")
    remark(f"{name} {path}: the first row, {names}, is taken for a header.")
    return 1


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_parquet(path: pathlib.Path, name: str) -> np.ndarray:
    import pandas as pd

    try:
        return pd.read_parquet(path).to_numpy()
    except ImportError as error:
        raise ValueError(str(error)) from error


def _remark_on_numbering(path: pathlib.Path, name: str) -> None:
    """A word about a first row or column that counts: told by whole numbers among others."""
    with path.open(encoding="utf-8-sig") as file:
        lines = [line.split("#")[0].strip() for line in file]
    cells = [[cell.strip() for cell in line.split(",")] for line in lines if line]
    row, column = cells[0], [line[0] for line in cells]
    below = [cell for line in cells[1:] for cell in line]
    beside = [cell for line in cells for cell in line[1:]]
    for counted, others, what, of in (
        (row, below, "row", "header"),
        (column, beside, "column", "index"),
    ):
        counts = counted == [str(number) for number in range(len(counted))]
        if counts and not all(cell.lstrip("+-").isdigit() for cell in others):
            remark(
                f"{name} {path}: the first {what} counts {', '.join(counted[:3])}"
                f"{', ...' if len(counted) > 3 else ''}, as the {of} of a table does; it is taken "
                "for numbers like the others. Leave it out, as by to_csv(path, index=False, "
                "header=False), or write 0.0 for a number that is meant."
            )


def _read_numpy(path: pathlib.Path, name: str) -> np.ndarray:
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        if len(loaded.files) == 1:
            return loaded[loaded.files[0]]
        if name in loaded.files:
            return loaded[name]
        raise LookupError(
            f"it has {len(loaded.files)} arrays, {', '.join(map(repr, loaded.files))}, "
            f"and none called {name!r}"
        )


_READERS = {".csv": _read_csv, ".parquet": _read_parquet}


def _refuse(name: str, path: pathlib.Path, what: str, remedy: str) -> ValueError:
    return ValueError(f"{name} {path}: {what}. {remedy}")
