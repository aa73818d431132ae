"""Any array-like that holds numbers, as an array of floats; every refusal names its own cause.

NumPy of any byte order, layout and type, JAX, PyTorch and whatever else speaks ``__array__`` or
``__dlpack__``, pandas, masked arrays with nothing masked, nested lists. Half precision becomes
float32, for sums and exponentials of half-precision numbers keep no digits; long doubles become
float64, which is all that JAX has.
"""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from nce_bias._checks import is_traced, refuse

EXPECTED = "an array of numbers (NumPy, JAX, PyTorch, pandas, nested lists of equal lengths)"
#: What a foreign array raises that cannot be handed over: a dtype, a device, a layout.
NOT_HANDED_OVER = (TypeError, ValueError, RuntimeError, BufferError, NotImplementedError)


def read(argument: str, value: Any, *, sparse: bool = False) -> Any:
    """`value` as a floating NumPy array, or as a JAX array where it is traced.

    float32 and float64 stay what they are; integers and booleans become float64. `sparse`: a
    SciPy matrix is welcome, its absent entries being zeros that are meant.
    """
    if is_traced(value):
        return floating(argument, value)
    array = _to_numpy(argument, value, sparse)
    if array.dtype.kind == "O":
        array = _from_objects(argument, value, array)
    _check_type(argument, value, array)
    return np.asarray(array, _lifted(array.dtype))


def floating(argument: str, value: Any) -> jax.Array:
    """`value` as a floating JAX array (integers and booleans become the default float)."""
    if not isinstance(value, jax.Array) and not is_traced(value):
        return jnp.asarray(read(argument, value))
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise _ragged(argument, value) from error
    _check_type(argument, value, array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(jnp.result_type(float))
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def read_integers(argument: str, value: Any) -> Any:
    """`value` as an int64 NumPy array; floats are refused, whole ones too."""
    array = _to_numpy(argument, value, sparse=False)
    if array.dtype.kind == "O" and all(isinstance(item, int) for item in array.flat):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise refuse(
            argument,
            f"got {_kind(value)} of type {array.dtype}",
            "integers that number labels from 0",
            "Give numbers of labels, such as labels.argmax(-1) of one-hot rows, "
            "or .astype(int) where floats hold whole numbers.",
        )
    return array.astype(np.int64)


def random_key(key: Any) -> PRNGKeyArray:
    """A key of JAX; a whole number is taken as the seed of one."""
    if isinstance(key, jax.Array) and (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == jnp.uint32
    ):
        return key
    try:
        seed = operator.index(key)
    except TypeError:
        raise refuse(
            "key",
            f"got {key!r}",
            "a key of JAX, or a whole number as its seed",
            "Pass key=jax.random.key(0).",
        ) from None
    return jax.random.key(seed)


def _lifted(dtype: np.dtype) -> np.dtype:
    """float32 for half precision, float64 for everything else but float32."""
    is_float = jnp.issubdtype(dtype, jnp.floating)
    return np.dtype(np.float32 if is_float and dtype.itemsize <= 4 else np.float64)


def _to_numpy(argument: str, value: Any, sparse: bool) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        return _unmasked(argument, value)
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        if not sparse:
            raise refuse(
                argument,
                f"got a sparse {_kind(value)} of shape {value.shape}",
                f"{EXPECTED}; an absent entry is no {argument.rstrip('s')} of 0",
                f"Pass {argument}.toarray() if it is.",
            )
        return np.asarray(value.toarray())
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise refuse(argument, "got a random key", EXPECTED, "Keys go to key=.")
    detach = getattr(value, "detach", None)
    try:
        return _handed_over(detach() if callable(detach) else value)  # PyTorch: no gradient there
    except NOT_HANDED_OVER as error:
        if hasattr(value, "__array__") or hasattr(value, "__dlpack__"):
            raise _not_handed_over(argument, value, error) from error
        raise _ragged(argument, value) from error


def _handed_over(value: Any) -> np.ndarray:
    if not hasattr(value, "__dlpack__"):
        return np.asarray(value)
    if not hasattr(value, "__array__"):
        return np.asarray(jnp.from_dlpack(value))
    try:
        return np.asarray(value)
    except NOT_HANDED_OVER as error:
        compact = getattr(value, "contiguous", None)  # JAX takes no strided view of PyTorch's
        try:
            whole = compact() if callable(compact) else value
            return np.asarray(jnp.from_dlpack(whole))  # bfloat16, which NumPy has not
        except NOT_HANDED_OVER:
            raise error from None


def _not_handed_over(argument: str, value: Any, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    device = str(getattr(value, "device", "cpu"))
    where = "" if device == "cpu" else f" on {device}"
    dense = ".to_dense()" if "sparse" in str(getattr(value, "layout", "")) else ""
    return refuse(
        argument,
        f"got {_kind(value)}{where}, which does not hand over its numbers ({reason})",
        EXPECTED,
        f"Of a PyTorch tensor pass {argument}{dense}.detach().float().cpu().numpy().",
    )


def _unmasked(argument: str, value: np.ma.MaskedArray) -> np.ndarray:
    mask = np.ma.getmaskarray(value)
    if mask.any():
        raise refuse(
            argument,
            f"the entry at {_place(np.argwhere(mask)[0])} is masked",
            "a number at every place",
            f"Say what stands there: {argument}.filled(-np.inf) for a score that no candidate has, "
            f"{argument}.filled(0) for a probability of 0.",
        )
    return np.asarray(value.data)


def _from_objects(argument: str, value: Any, array: np.ndarray) -> np.ndarray:
    if array.ndim == 0:
        raise refuse(
            argument, f"got {_kind(value)}, which is not an array of numbers", EXPECTED, _convert()
        )
    numbers = np.empty(array.shape)
    for place in np.ndindex(array.shape):
        entry = array[place]
        try:
            if isinstance(entry, str | bytes):
                raise TypeError
            numbers[place] = float(entry)
        except (TypeError, ValueError) as error:
            raise refuse(
                argument,
                f"got {entry!r} at {_place(place)}, which is not a number",
                EXPECTED,
                "Leave columns of names out and fill what is missing, as by "
                "frame.select_dtypes('number').fillna(0).",
            ) from error
    return numbers


def _check_type(argument: str, value: Any, array: Any) -> None:
    dtype = array.dtype
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise refuse(argument, f"got dtype {dtype}", "real numbers", "Take the real part.")
    if getattr(dtype, "names", None):
        raise refuse(
            argument,
            f"got records with the fields {', '.join(dtype.names)}",
            EXPECTED,
            f"Pick one: {argument}[{dtype.names[0]!r}].",
        )
    if dtype.kind == "V" and not jnp.issubdtype(dtype, jnp.number):
        raise refuse(
            argument,
            f"got raw bytes of type {dtype}",
            EXPECTED,
            "NumPy's files forget bfloat16: save array.astype(np.float32), or pass "
            f"{argument}.view(ml_dtypes.bfloat16).",
        )
    if not (jnp.issubdtype(dtype, jnp.number) or dtype.kind == "b"):
        raise refuse(
            argument,
            f"got {_kind(value)} of type {dtype}, which are not numbers",
            EXPECTED,
            _convert(),
        )


def _ragged(argument: str, value: Any) -> ValueError:
    return refuse(
        argument,
        f"got {_kind(value)} whose rows have different lengths",
        EXPECTED,
        "Make it rectangular: pad rows of scores with -inf, rows of probabilities with 0.",
    )


def _convert() -> str:
    return "Convert it to a rectangular array of floats first."


def _kind(value: Any) -> str:
    return type(value).__name__


def _place(index: Any) -> str:
    return f"[{', '.join(str(int(i)) for i in index)}]"
