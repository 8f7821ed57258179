"""The only file that knows array libraries.

Data stay in the library and on the device they came in (NumPy, PyTorch, CuPy or any other library of the array
API standard whose basic slices are views); the *parameters* of a model are small and always NumPy float64 arrays.
So every computation on data asks `namespace` for its functions, brings parameters over with `like`, and hands sums
back with `to_numpy`. Random numbers are drawn by NumPy and moved, so that a seed means the same noise everywhere.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import array_api_compat
import array_api_compat.numpy
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any  # An array of the library that the data came in.

Floats: TypeAlias = NDArray[np.float64]  # A NumPy float64 array: parameters and sums.


def namespace(x: Array) -> Any:
    """Return the array-API namespace of `x`."""
    # Asking takes microseconds with the interpreter lock held, which threads over chunks would queue for.
    return array_api_compat.numpy if type(x) is np.ndarray else array_api_compat.array_namespace(x)


def is_foreign(x: object) -> bool:
    """Tell whether `x` is an array of a library other than NumPy (it then stays in that library)."""
    return array_api_compat.is_array_api_obj(x) and not array_api_compat.is_numpy_array(x)


def like(values: Array, x: Array) -> Array:
    """Bring NumPy `values` to the library, device and precision of `x`."""
    if isinstance(x, np.ndarray):
        return np.asarray(values, dtype=x.dtype)
    if isinstance(values, np.ndarray) and not values.flags.writeable:
        values = values.copy()  # PyTorch warns of what it might write to
    return namespace(x).asarray(values, dtype=x.dtype, device=array_api_compat.device(x))


def precise_like(values: Floats, x: Array) -> Array:
    """Bring NumPy `values` to the library and device of `x`, in double precision where the device has it."""
    if isinstance(x, np.ndarray):
        return values
    xp, device = namespace(x), array_api_compat.device(x)
    has_double = "float64" in xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    return xp.asarray(values, dtype=xp.float64 if has_double else xp.float32, device=device)


def indices_like(values: NDArray[np.intp], x: Array) -> Array:
    """Bring NumPy integer `values` to the library and device of `x`."""
    if isinstance(x, np.ndarray):
        return values
    xp = namespace(x)
    return xp.asarray(values, dtype=xp.int64, device=array_api_compat.device(x))


def to_numpy(x: Array) -> NDArray[Any]:
    """Bring `x` to NumPy, from whatever device it is on."""
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    if array_api_compat.is_torch_array(x):
        return np.asarray(x.detach().cpu().numpy())
    if array_api_compat.is_cupy_array(x):
        return np.asarray(x.get())
    return np.from_dlpack(x)


def as_numpy(values: Any) -> NDArray[Any]:
    """Bring anything like an array to NumPy: an array of any library, a list, or a table."""
    return to_numpy(values) if is_foreign(values) else np.asarray(values)


def as_floating(x: Array) -> Array:
    """Return `x` itself when it is a float32 or float64 array, else a float64 copy."""
    xp = namespace(x)
    if x.dtype in (xp.float32, xp.float64):
        return x
    return xp.astype(x, xp.float64)


def exp_in_place(x: Array) -> Array:
    """Return exp(x), overwriting `x` where the library can; `x` must not be used afterwards."""
    return np.exp(x, out=x) if isinstance(x, np.ndarray) else namespace(x).exp(x)


def at_least_in_place(x: Array, floor: float) -> Array:
    """Return max(x, floor), overwriting `x` where the library can; `x` must not be used afterwards."""
    return np.maximum(x, floor, out=x) if isinstance(x, np.ndarray) else namespace(x).clip(x, floor)


def multiply_into(a: Array, b: Array, out: Array) -> None:
    """Write a * b into the view `out`, without a temporary where the library can."""
    if isinstance(out, np.ndarray):
        np.multiply(a, b, out=out)
    else:
        out[...] = a * b


def subtract_into(a: Array, b: Array, out: Array) -> None:
    """Write a - b into the view `out`, without a temporary where the library can."""
    if isinstance(out, np.ndarray):
        np.subtract(a, b, out=out)
    else:
        out[...] = a - b


def squared_lengths(u: Array) -> Array:
    """Squared lengths of the vectors along axis -2: (..., d, n) -> (..., n), without a temporary for NumPy."""
    if isinstance(u, np.ndarray):
        return np.einsum("...dn,...dn->...n", u, u)
    return namespace(u).sum(u * u, axis=-2)


def product(a: Array, b: Array) -> Array:
    """Return the matrix product of two matrices, of stacks of them, or of vectors.

    All products of rows are taken here, for two reasons. Flags: the single-precision kernels of OpenBLAS multiply lanes
    of a register that belong to no row, whatever the memory happened to hold there; the result is right, but the flag
    of an invalid operation stays behind and NumPy would warn. So the flag is not looked at: who decides on a result
    asks whether it is finite. Threads: NumPy's ``@`` keeps the interpreter lock where the result has fewer than 500
    entries, even if the sum behind each is long; sums over many rows are just that, and threads over chunks would
    queue for it. ``np.dot`` always lets go.
    """
    with np.errstate(invalid="ignore"):
        return np.dot(a, b) if isinstance(a, np.ndarray) and a.ndim <= 2 and b.ndim <= 2 else a @ b
