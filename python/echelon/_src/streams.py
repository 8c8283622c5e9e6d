# SPDX-License-Identifier: Apache-2.0
"""Standard streams of a child process."""

from __future__ import annotations

import io
import sys
from typing import TextIO


def _text(fd: int, mode: str) -> TextIO:
    # Whole lines, so that those of several children do not mix; never closed with the object.
    raw = io.FileIO(fd, mode, closefd=False)
    binary = io.BufferedWriter(raw) if mode == "w" else io.BufferedReader(raw)
    return io.TextIOWrapper(binary, "utf-8", "backslashreplace", line_buffering=mode == "w")


def use_pipes() -> None:
    """Points sys.stdin, stdout and stderr at descriptors 0 to 2, which the spawner has made.

    What the program had there may be a test's capture or a notebook's socket, and is not ours.
    """
    sys.stdin = sys.__stdin__ = _text(0, "r")  # type: ignore[assignment,misc]
    sys.stdout = sys.__stdout__ = _text(1, "w")  # type: ignore[assignment,misc]
    sys.stderr = sys.__stderr__ = _text(2, "w")  # type: ignore[assignment,misc]
