# SPDX-License-Identifier: Apache-2.0
"""What a callable must not carry to another process, and where in it that is."""

from __future__ import annotations

import asyncio
import ctypes
import io
import mmap
import queue
import socket
import subprocess
import threading
import types
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from multiprocessing.pool import Pool
from typing import Any, Callable

import numpy as np

from ._core import (
    ChipHandle,
    ChipImage,
    Orchestrator,
    OrchHandle,
    Run,
    Scope,
    SubHandle,
    Task,
    TaskArgs,
    TaskHandle,
    Tensor,
    Worker,
)

_ARGUMENT = "give it to the task as an argument"
_THERE = "make one in the function, in the process that runs it"

_Kinds = tuple[tuple[tuple[type, ...], str, str], ...]

#: (types, what they are called, what to do instead)
_REFUSED: _Kinds = (
    ((type(threading.Lock()),), "a threading.Lock", _THERE),
    ((type(threading.RLock()),), "a threading.RLock", _THERE),
    ((threading.Condition, threading.Event, threading.Semaphore), "a lock of threading", _THERE),
    ((threading.Barrier, threading.Thread), "a thread, or what threads wait at", _THERE),
    ((threading.local,), "a threading.local", _THERE),
    ((queue.Queue, queue.SimpleQueue), "a queue", _THERE),
    ((socket.socket,), "a socket", "connect in the function"),
    ((mmap.mmap,), "a memory map", _THERE),
    ((io.IOBase,), "an open file", "ship its name and open it in the function"),
    ((memoryview,), "a memoryview", "ship bytes(view), or " + _ARGUMENT + " as a tensor"),
    ((subprocess.Popen, Pool, Executor, Future), "a process, or a pool of them", _THERE),
    ((asyncio.AbstractEventLoop, asyncio.Future), "what belongs to an event loop", _THERE),
    ((types.GeneratorType, types.CoroutineType), "a running generator", "ship what makes it"),
    ((types.FrameType, types.TracebackType), "a frame", "ship the text of it"),
    (
        (
            ctypes._Pointer,
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_wchar_p,
            getattr(ctypes, "_CFuncPtr"),  # noqa: B009
            ctypes.CDLL,
        ),
        "a ctypes pointer",
        "an address means nothing in another process",
    ),
    ((Worker,), "a Worker", "ship handles"),
    ((Run, TaskHandle, Scope), "a run, or a part of one", "ship its result"),
    (
        (Orchestrator, Task, TaskArgs),
        "what a task was called with",
        "each call is given its own",
    ),
    ((Tensor,), "a Tensor", _ARGUMENT),
    ((ChipImage,), "a ChipImage", "register it, and ship the handle"),
)

_HANDLES = (SubHandle, OrchHandle, ChipHandle)

#: What most of what is pickled is: nothing of these types themselves is refused. Looking through
#: all of the above for each would take longer than pickling a small function.
SHIPPED = frozenset(
    (
        types.FunctionType,
        types.CodeType,
        types.CellType,
        types.BuiltinFunctionType,
        types.MethodType,
        types.ModuleType,
        type,
        np.ndarray,
        np.dtype,
    )
)


class CannotShip(TypeError):
    """Something in a callable cannot go to another process; says what, where, what to do."""


def refusal(thing: Any, in_tree: Callable[[Any], bool]) -> str | None:
    """Why `thing` cannot be shipped; None: it can. `in_tree` knows the handles of this tree."""
    if type(thing) in SHIPPED:
        return None
    for kinds, called, instead in _REFUSED:
        if isinstance(thing, kinds):
            return f"{called} cannot be shipped; {instead}"
    if isinstance(thing, _HANDLES) and not in_tree(thing):
        return f"{thing!r} is a handle of another tree; register its callable in this one"
    return None


def find_path(root: Any, name: str, wanted: Any) -> str:
    """Where `wanted` is in `root`: "scale.<closure>.lock"; `name` alone where it is not found."""
    waiting: deque[tuple[Any, str]] = deque([(root, name)])
    seen = {id(root)}
    keep: list[Any] = [root]  # an id is worth something only while its object lives
    while waiting:
        thing, path = waiting.popleft()
        for part, inner in _parts(thing):
            if inner is wanted:
                return path + part
            if id(inner) in seen or isinstance(inner, (str, bytes, int, float, type(None))):
                continue
            seen.add(id(inner))
            keep.append(inner)
            waiting.append((inner, path + part))
    return name


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, types.FunctionType):
        yield from _parts_of_function(thing)
    elif isinstance(thing, types.MethodType):
        yield ".<self>", thing.__self__
        yield "", thing.__func__
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield f"[{key!r}]", value
    elif isinstance(thing, (list, tuple, set, frozenset, deque)):
        for i, value in enumerate(thing):
            yield f"[{i}]", value
    elif isinstance(thing, types.ModuleType):
        return
    else:
        for attribute in ("func", "args", "keywords", "__wrapped__"):  # functools
            if attribute in dir(type(thing)):
                yield f".{attribute}", getattr(thing, attribute, None)
        for name, value in list(getattr(thing, "__dict__", {}).items()):
            yield f".{name}", value
        for name in getattr(type(thing), "__slots__", ()):
            yield f".{name}", getattr(thing, name, None)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield f".<closure>.{name}", cell.cell_contents
        except ValueError:  # empty
            continue
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f".<globals>.{name}", function.__globals__[name]
    for i, value in enumerate(function.__defaults__ or ()):
        yield f".<defaults>[{i}]", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f".<defaults>.{name}", value
    for name, value in function.__dict__.items():
        yield f".{name}", value


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)
