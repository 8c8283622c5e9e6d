# SPDX-License-Identifier: Apache-2.0
"""Callables on their way to a running tree, and at their destination."""

from __future__ import annotations

import importlib
import io
import sys
import types
from typing import Any, Callable

import cloudpickle

from . import captures, envelope, modules, signatures, sources


class _Refused(Exception):
    """Something on the way through the pickler that cannot be shipped."""

    def __init__(self, thing: Any, why: str) -> None:
        super().__init__(why)
        self.thing = thing


#: Exactly of these types: nothing to refuse, and pickled as everywhere. Asking the long way would
#: take as long as pickling a small function.
_AS_EVERYWHERE = captures.SHIPPED - {types.FunctionType, type}
#: What cloudpickle's own pickles call; found by name in any process that has it.
_CLOUDPICKLES = frozenset(
    thing
    for module in (sys.modules[cloudpickle.Pickler.__module__], cloudpickle.cloudpickle)
    for thing in vars(module).values()
    if type(thing) is types.FunctionType and thing.__module__ == module.__name__
)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
    """cloudpickle's, which turns files and memoryviews into copies, where this one refuses."""

    def __init__(self, file: io.BytesIO, in_tree: Callable[[Any], bool]) -> None:
        super().__init__(file, protocol=5)
        self._in_tree = in_tree
        #: Of the functions that went by value.
        self.codes: list[types.CodeType] = []
        #: What it is at: where pickling fails, this is what failed.
        self.last: Any = None

    def reducer_override(self, obj: Any) -> Any:
        self.last = obj
        kind = type(obj)
        if kind in _AS_EVERYWHERE or (kind is types.FunctionType and obj in _CLOUDPICKLES):
            return NotImplemented
        why = captures.refusal(obj, self._in_tree)
        if why is not None:
            raise _Refused(obj, why)
        reduced = super().reducer_override(obj)
        if isinstance(obj, types.FunctionType) and reduced is not NotImplemented:
            self.codes.append(obj.__code__)
        return reduced


class _WithSources:
    """A function and its lines; unpickled, it is the function."""

    def __init__(self, function: Callable[..., Any], lines: list[sources.Lines]) -> None:
        self._parts = (function, lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return sources.with_sources, self._parts


def pickle_function(
    function: Callable[..., Any], name: str, in_tree: Callable[[Any], bool]
) -> memoryview:
    """The envelope that `function` is shipped in. Raises CannotShip, naming what is in the way."""

    last: Any = None

    def write(file: io.BytesIO) -> None:
        nonlocal last
        begin = file.tell()
        pickler = _Pickler(file, in_tree)
        try:
            pickler.dump(function)
        finally:
            last = pickler.last
        lines = sources.of(pickler.codes)
        if lines:  # of a notebook, or python -c: once more, so that all others pay nothing for it
            file.seek(begin)
            file.truncate()
            _Pickler(file, in_tree).dump(_WithSources(function, lines))

    try:
        return envelope.seal(write)
    except _Refused as refused:
        place = captures.find_path(function, name, refused.thing)
        raise captures.CannotShip(f"{place}: {refused}") from None
    except RecursionError as error:  # the path would be as deep
        raise captures.CannotShip(f"{name} cannot be shipped: {error}") from error
    except (Exception, SystemExit) as error:  # a class's own __reduce__ may raise anything
        place = captures.find_path(function, name, last)
        why = str(error) or type(error).__name__
        raise captures.CannotShip(f"{place}: it cannot be shipped: {why}") from error


def load_pickle(name: str, sealed: memoryview, immutable: bool = False) -> Callable[..., Any]:
    """The function of an envelope. Raises EnvelopeError, TypeError, ModuleRefused, and what
    unpickling raises."""
    function = modules.loads(envelope.open_sealed(sealed, immutable))
    if not callable(function):
        raise TypeError(f"{name}: what was shipped is {function!r}, which cannot be called")
    return function  # type: ignore[no-any-return]


def load_path(name: str, path: memoryview) -> Callable[..., Any]:
    """The function that a shipped import path names. Raises as import_path(), and ModuleRefused."""
    text = bytes(path).decode()
    modules.check(text.partition(":")[0])
    return import_path(text)


def import_path(path: str) -> Callable[..., Any]:
    """The function that "package.module:function" names. Raises ValueError, ImportError."""
    module_name, colon, names = path.partition(":")
    if not colon or not module_name or not names:
        raise ValueError(f'"{path}": "package.module:function" was expected')
    found: Any = importlib.import_module(module_name)
    for name in names.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ImportError(f"module {module_name} has no {names}") from None
    if not callable(found):
        raise TypeError(f'"{path}" is {found!r}, which cannot be called')
    signatures.check_plain(found, path)
    return found  # type: ignore[no-any-return]
