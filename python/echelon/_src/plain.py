# SPDX-License-Identifier: Apache-2.0
"""Plain data from sessions that are not trusted: a pickle that may name nothing."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from typing import Any, NoReturn

#: Of these a dict's keys are made, and flat tuples of them: the hash of a tuple of tuples may take
#: for ever, as one that is in it twice is hashed twice.
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
#: Makes as many bytes as it says, before it looks whether they are there; and what has a hash.
_REFUSED = [
    code[0] for code in (pickle.BYTEARRAY8, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)
]

# The unpickler in Python: the one in C makes its memo as long as the largest index that a pickle
# says, which then is all of this machine's memory.
_Base: Any = pickle._Unpickler  # type: ignore[attr-defined, unused-ignore]


def _refuse(what: str) -> NoReturn:
    raise pickle.UnpicklingError(
        f"{what} is no plain data (None, bool, int, float, str, bytes, list, tuple, dict), and the "
        "remote Worker's spec does not say trust_results=True"
    )


def _check_keys(keys: Iterable[Any]) -> None:
    for key in keys:
        parts = key if type(key) is tuple else (key,)
        if not all(type(part) in _SCALARS for part in parts):
            _refuse("a dict's key that is neither one value nor a tuple of such")


class _Unpickler(_Base):  # type: ignore[misc]
    dispatch = dict(_Base.dispatch)

    def find_class(self, module: str, name: str) -> NoReturn:
        _refuse(f"{module}.{name}")

    def get_extension(self, code: int) -> NoReturn:  # its cache would be asked before find_class()
        _refuse(f"the extension {code} of copyreg")

    def load_refused(self) -> NoReturn:
        _refuse("a set or a bytearray")

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


def loads(pickled: bytes) -> Any:
    """What was pickled. Raises UnpicklingError and whatever else a damaged pickle leads to."""
    return _Unpickler(io.BytesIO(pickled)).load()
