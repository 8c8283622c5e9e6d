# SPDX-License-Identifier: Apache-2.0
"""Element types that NumPy alone does not have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: NumPy's dtype of bfloat16 where ml_dtypes is installed, otherwise its name.
BFLOAT16: Any = "bfloat16"
try:
    import ml_dtypes
except ImportError:
    pass
else:
    BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def half_from_bits(name: str, bits: int) -> float:
    """The number that the 16 bits of a float16 or a bfloat16 stand for."""
    if name == "float16":
        return float(np.array([bits], dtype=np.uint16).view(np.float16)[0])
    return float(np.array([bits << 16], dtype=np.uint32).view(np.float32)[0])


def number_as(value: Any, given_dtype: Any) -> Any:
    """`value`, one number, as an array of rank 0 of `dtype`, which holds it; floats are rounded.

    astype() would wrap around, cut off, or parse a text.
    """
    dtype = np.dtype(given_dtype)
    given = np.asarray(value)
    number = given.item() if given.ndim == 0 else None
    if isinstance(number, np.longdouble):
        number = float(number)
    if not isinstance(number, (bool, int, float)):
        raise TypeError(
            f"scalar: one number was expected for {dtype}, not {value!r}; larger data goes into a "
            "tensor"
        )
    if dtype.kind in "biu":
        return _whole_number_as(number, dtype)
    with np.errstate(over="ignore"):
        try:
            converted = np.asarray(float(number)).astype(dtype)
        except OverflowError:  # an int beyond float64
            converted = np.asarray(math.inf)
    if math.isinf(float(converted)) and not (isinstance(number, float) and math.isinf(number)):
        raise ValueError(f"scalar: {value!r} is beyond what {dtype} holds")
    return converted


def _whole_number_as(number: float, dtype: np.dtype[Any]) -> Any:
    if not math.isfinite(number) or number != int(number):
        raise ValueError(
            f"scalar: {number!r} is not a whole number, as {dtype} takes; int() or round() it first"
        )
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not least <= number <= most:
        raise ValueError(f"scalar: {number!r} does not fit {dtype}, which holds {least} to {most}")
    return np.asarray(int(number)).astype(dtype)
