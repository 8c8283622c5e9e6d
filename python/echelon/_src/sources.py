# SPDX-License-Identifier: Apache-2.0
"""Source lines of functions that are in no file, for tracebacks in the processes that run them.

A notebook's cells and what ``python -c`` runs are known to the program alone: their lines travel
with the function, and go into linecache there. Of a program that is piped into Python nobody keeps
the lines.
"""

from __future__ import annotations

import dis
import linecache
import os
import types
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Callable

#: What travels with one function, and of how many files lines are kept here.
_BYTES_MAX = 64 * 1024
_FILES_MAX = 1024

#: (file name, number of the first line, lines)
Lines = tuple[str, int, tuple[str, ...]]

_kept: dict[str, None] = {}
#: Names of files that were there when they were looked for: asking again would take a tenth of the
#: time that pickling a small function takes.
_files: set[str] = set()


def of(codes: Collection[types.CodeType]) -> list[Lines]:
    """Their lines, as far as they are in no file and known here; at most 64 KiB in all."""
    if all(code.co_filename in _files for code in codes):
        return []
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    left = _BYTES_MAX
    for code in codes:
        lines = _lines_of(code)
        left -= sum(map(len, lines))
        if left < 0:
            break
        if lines:
            found[code.co_filename, code.co_firstlineno] = lines
    return [(name, first, lines) for (name, first), lines in found.items()]


def keep(sources: Iterable[Lines]) -> None:
    """Makes them known to tracebacks of this process."""
    for name, first, lines in sources:
        known = linecache.cache.get(name)
        have = list(known[2]) if known is not None and len(known) == 4 else []
        end = first - 1 + len(lines)
        if tuple(have[first - 1 : end]) == lines:
            continue
        have += [""] * (end - len(have))
        have[first - 1 : end] = lines
        linecache.cache[name] = (sum(map(len, have)), None, have, name)
        _kept[name] = None
        while len(_kept) > _FILES_MAX:
            oldest = next(iter(_kept))
            del _kept[oldest]
            linecache.cache.pop(oldest, None)


def remember(function: Any) -> None:
    """The same for a function that the children inherit, with what this process knows."""
    code = getattr(function, "__code__", None)
    if isinstance(code, types.CodeType):
        keep(of([code]))


def with_sources(function: Callable[..., Any], sources: list[Lines]) -> Callable[..., Any]:
    """What a shipped function is unpickled by."""
    keep(sources)
    return function


def _lines_of(code: types.CodeType) -> tuple[str, ...]:
    name = code.co_filename
    if name in _files:
        return ()
    if os.path.exists(name):
        if len(_files) < _FILES_MAX:
            _files.add(name)
        return ()
    lines = linecache.getlines(name)
    if not lines and name == "<string>":
        lines = _command()
    elif not lines and name == "<stdin>":
        lines = _standard_input()
    first = code.co_firstlineno
    part = tuple(lines[first - 1 : _last_line(code)])
    # Other code is called "<string>" or "<stdin>", too: lines must be this function's.
    marks = [f"def {code.co_name}", f"class {code.co_name}"]
    if code.co_name == "<lambda>":
        marks = ["lambda"]
    return part if any(mark in line for line in part for mark in marks) else ()


def _last_line(code: types.CodeType) -> int:
    last = max((line for _, line in dis.findlinestarts(code) if line), default=0)
    inner = (_last_line(each) for each in code.co_consts if isinstance(each, types.CodeType))
    return max([code.co_firstlineno, last, *inner])


def _command() -> list[str]:
    """What ``python -c`` was given."""
    arguments = Path("/proc/self/cmdline").read_bytes().decode(errors="replace").split("\0")
    for i, argument in enumerate(arguments[1:-1], 1):
        if argument[:1] == "-" != argument[1:2] and argument[-1:] == "c":  # -c, -Ic
            return arguments[i + 1].splitlines(keepends=True)
        if not argument.startswith("-"):
            break
    return []


def _standard_input() -> list[str]:
    """The program, where ``python < file`` reads it."""
    try:
        path = os.readlink("/proc/self/fd/0")
        return Path(path).read_text().splitlines(keepends=True) if os.path.isfile(path) else []
    except (OSError, ValueError):
        return []
