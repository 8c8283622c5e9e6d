# SPDX-License-Identifier: Apache-2.0
"""Plain data from sessions that are not trusted: a pickle that may name nothing but arrays."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from typing import Any, NoReturn

from . import plain_arrays

#: Of these a dict's keys are made, and flat tuples of them: the hash of a tuple of tuples may take
#: for ever, as one that is in it twice is hashed twice.
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
#: What has a hash.
_REFUSED = [code[0] for code in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)]

# The unpickler in Python: the one in C makes its memo as long as the largest index that a pickle
# says, which then is all of this machine's memory.
_Base: Any = pickle._Unpickler  # type: ignore[attr-defined, unused-ignore]


def _refuse(what: str) -> NoReturn:
    raise pickle.UnpicklingError(
        f"{what} is no plain data (None, bool, int, float, str, bytes, list, tuple, dict, NumPy "
        "arrays of numbers), and the remote Worker's spec does not say trust_results=True"
    )


def _check_keys(keys: Iterable[Any]) -> None:
    for key in keys:
        parts = key if type(key) is tuple else (key,)
        if not all(type(part) in _SCALARS for part in parts):
            _refuse("a dict's key that is neither one value nor a tuple of such")


class _Unpickler(_Base):  # type: ignore[misc]
    dispatch = dict(_Base.dispatch)

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled))
        self._bytes_max = len(pickled)
        self._buffers: list[plain_arrays.Buffer] = []

    def load(self) -> Any:
        value = super().load()
        if not all(buffer.used for buffer in self._buffers):
            _refuse("a bytearray")
        return value

    def find_class(self, module: str, name: str) -> Any:
        try:
            return plain_arrays.find(module, name)
        except KeyError:
            _refuse(f"{module}.{name}")

    def get_extension(self, code: int) -> NoReturn:  # its cache would be asked before find_class()
        _refuse(f"the extension {code} of copyreg")

    def load_refused(self) -> NoReturn:
        _refuse("a set")

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        if size > self._bytes_max:  # pickle would make it before it looks whether it is there
            _refuse("a bytearray that is not there")
        self._buffers.append(plain_arrays.Buffer(bytes(self.read(size))))
        self.append(self._buffers[-1])

    def load_build(self) -> None:
        state = self.stack.pop()
        plain_arrays.build(self.stack[-1], state)

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        _Base.load_setitem(self)

    def load_setitems(self) -> None:
        _check_keys(self.stack[::2])
        _Base.load_setitems(self)

    def load_dict(self) -> None:
        _check_keys(self.stack[::2])
        _Base.load_dict(self)

    dispatch.update(dict.fromkeys(_REFUSED, load_refused))
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.BUILD[0]] = load_build


def loads(pickled: bytes) -> Any:
    """What was pickled. Raises UnpicklingError and whatever else a damaged pickle leads to."""
    try:
        return _Unpickler(pickled).load()
    except plain_arrays.Refused as refused:
        _refuse(str(refused))
