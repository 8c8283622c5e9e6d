# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays in what a session returns that is not trusted."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import numpy as np
import pytest

from echelon._src import plain

F8 = np.dtype(np.float64)
FROM_BUFFER = np.arange(2.0).__reduce_ex__(5)[0]
RECONSTRUCT, SCALAR = np.arange(2.0).__reduce__()[0], np.float64(1).__reduce__()[0]

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(16.0).reshape(4, 4)[::2, ::2],
    np.array([True, False]),
    np.array(3 + 4j),
    np.zeros((0, 3), np.uint8),
    np.arange(3, dtype=">i4"),
    np.arange(2, dtype=np.float16),
]


@pytest.mark.parametrize("protocol", (3, 4, 5))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}-{array.shape}")
def test_an_array_of_numbers_comes_as_it_went(array: Any, protocol: int) -> None:
    pickled = pickle.dumps({"x": [array, array]}, protocol)
    read = plain.loads(pickled)["x"]
    assert read[0] is read[1]
    assert read[0].dtype == pickle.loads(pickled)["x"][0].dtype
    assert read[0].flags.writeable
    np.testing.assert_array_equal(read[0], array)


@pytest.mark.parametrize("value", [np.float32(1.5), np.int64(-3), np.bool_(True)])
def test_a_number_of_numpys_comes_as_it_went(value: Any) -> None:
    read = plain.loads(pickle.dumps((value, 1), 5))
    assert read == (value, 1)
    assert type(read[0]) is type(value)


class Calls:
    """Is pickled as a call."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.parts


def of_state(*state: Any) -> Calls:
    return Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([object()]), "an array of 'O8'"),
        (np.array(["text"]), "an array of 'U4'"),
        (np.zeros(2, [("a", int)]), "an array of 'V8'"),
        (np.array(["2026-01-01"], "M8[D]"), "an array of 'M8'"),
        (
            Calls(np.dtype, "f8", False, True, state=(3, "<", None, ("a",), {"a": 1}, 8, 1, 0)),
            "rec",
        ),
        (Calls(np.dtype, "i99", False, True), "an array of 'i99'"),
        (Calls(np.dtype, ["f8"], False, True), "an array of"),
        (Calls(FROM_BUFFER, bytearray(8), F8, (2,), "C"), r"\(2,\) with 8 bytes"),
        (Calls(FROM_BUFFER, bytearray(8), F8, (-1,), "C"), "such a shape"),
        (Calls(FROM_BUFFER, bytearray(8), F8, 1, "C"), "such a shape"),
        (Calls(FROM_BUFFER, bytearray(8), F8, (1,) * 33, "C"), "such a shape"),
        (Calls(FROM_BUFFER, bytearray(8), F8, (1,), "K"), "the order 'K'"),
        (Calls(FROM_BUFFER, [1.0], F8, (1,), "C"), "does not come with its elements"),
        (Calls(FROM_BUFFER, bytearray(8), "f8", (1,), "C"), "does not come with its elements"),
        (Calls(SCALAR, F8, b"1234"), "with 4 bytes"),
        (of_state(1, (2**40,), F8, False, b"12345678"), "with 8 bytes"),
        (of_state(1, (1,), F8, False, [object]), "object is no plain data"),
        (of_state(0, (1,), F8, False, b"12345678"), "a ndarray with a state"),
        ([bytearray(b"alone")], "a bytearray"),
        ({np.float64(1): 1}, "a dict's key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_array_of_numbers_is_refused(value: Any, words: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=f"{words}.*no plain data|{words}"):
        plain.loads(pickle.dumps(value, 5))


def test_an_array_that_claims_more_than_came_is_refused_before_memory_is_taken() -> None:
    whole = pickle.dumps(np.arange(64, dtype=np.uint8), 5)
    for size in range(len(whole)):
        with pytest.raises(
            (pickle.UnpicklingError, EOFError, ValueError, IndexError, struct.error)
        ):
            plain.loads(whole[:size])
