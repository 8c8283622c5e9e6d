# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays and numbers in plain data: what a pickle of NumPy's calls, made again with every
argument looked at. The elements come with the pickle, so that none is larger than what was sent.
"""

from __future__ import annotations

import math
import re
from typing import Any, Callable

import numpy as np

#: Of numbers and truth values; objects, which name classes, dates and texts are none.
_NUMBERS = re.compile(r"[biufc][0-9]{1,2}", re.ASCII)
_DIMENSIONS_MAX = 32
#: NumPy's own __setstate__ of a dtype without fields, after version and byte order.
_NO_FIELDS = (None, None, None, -1, -1, 0)


class Refused(ValueError):
    """Says what is no array of numbers."""


class Buffer:
    """What a pickle has as a bytearray: elements of an array, and nothing else."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.used = False


def _dtype(text: Any, *_: Any) -> np.dtype[Any]:
    if type(text) is not str or not _NUMBERS.fullmatch(text):
        raise Refused(f"an array of {text!r}")
    try:
        # A copy: its byte order is set afterwards.
        return np.dtype(text, False, True)
    except TypeError:
        raise Refused(f"an array of {text!r}") from None


def _order_bytes(dtype: np.dtype[Any], state: Any) -> None:
    known = (
        type(state) is tuple
        and len(state) == 2 + len(_NO_FIELDS)
        and state[0] == 3
        and state[1] in ("<", ">", "|", "=")
        and state[2:] == _NO_FIELDS
    )
    if not known:
        raise Refused("an array of records")
    dtype.__setstate__(state)  # type: ignore[attr-defined, unused-ignore]


def _check_shape(shape: Any) -> None:
    if (
        type(shape) is not tuple
        or len(shape) > _DIMENSIONS_MAX
        or not all(type(extent) is int and extent >= 0 for extent in shape)
    ):
        raise Refused("an array of such a shape")


def _bytes_of(given: Any, dtype: Any, shape: tuple[int, ...]) -> bytes:
    """The elements, exactly as many as there have to be."""
    if isinstance(given, Buffer):
        given.used = True
        given = given.data
    if type(given) is not bytes or not isinstance(dtype, np.dtype):
        raise Refused("an array that does not come with its elements")
    if len(given) != math.prod(shape) * dtype.itemsize:
        raise Refused(f"an array of {shape} with {len(given)} bytes")
    return given


def _from_buffer(given: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> np.ndarray[Any, Any]:
    _check_shape(shape)
    data = _bytes_of(given, dtype, shape)
    if order not in ("C", "F"):
        raise Refused(f"an array in the order {order!r}")
    array = np.empty(shape, dtype, order)
    if data:
        array.reshape(-1, order="A")[:] = np.frombuffer(data, dtype)
    return array


def _empty(*_: Any) -> np.ndarray[Any, Any]:
    """Filled by build()."""
    return np.empty(0, np.int8)


def _scalar(dtype: Any, given: Any) -> Any:
    return np.frombuffer(_bytes_of(given, dtype, ()), dtype)[0]


_CALLED: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): None,  # what is to be made, of a call that makes nothing else
}
for _core in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
    _CALLED[f"{_core}.numeric", "_frombuffer"] = _from_buffer
    _CALLED[f"{_core}.multiarray", "_reconstruct"] = _empty
    _CALLED[f"{_core}.multiarray", "scalar"] = _scalar


def find(module: str, name: str) -> Callable[..., Any] | None:
    """What stands for a name of NumPy's. Raises KeyError for any other."""
    return _CALLED[module, name]


def build(made: Any, state: Any) -> None:
    """What a pickle sets after it has made something."""
    if isinstance(made, np.dtype):
        return _order_bytes(made, state)
    known = type(made) is np.ndarray and type(state) is tuple and len(state) == 5 and state[0] == 1
    if not known:
        raise Refused(f"a {type(made).__name__} with a state")
    _, shape, dtype, by_columns, data = state
    _check_shape(shape)
    made.__setstate__((1, shape, dtype, by_columns is True, _bytes_of(data, dtype, shape)))
    return None
