# SPDX-License-Identifier: Apache-2.0
"""Memory that children are not to copy."""

from __future__ import annotations

import mmap
import weakref
from typing import Any

import numpy as np

from ._core import _end_private, _keep_private

#: What cannot tell when it goes: its pages must not come to others.
_kept: list[Any] = []


def keep_private(array: Any) -> None:
    """Keeps the memory of `array` (whole pages of it) out of every process that start() forks.

    They do not copy it, and touching it there is an error. Lasts as long as the memory; a
    bytearray is kept to the end of the program.
    For large arrays (megabytes) that only the program itself needs. Raises TypeError for what has
    no buffer, BufferError for memory that is not contiguous.

    >>> table = np.zeros(1_000_000)
    >>> ec.keep_private(table)
    """
    place = _keep_private(memoryview(array).cast("B"))
    owner = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    if isinstance(owner, np.ndarray):
        weakref.finalize(owner, _end_private, *place).atexit = False
    elif not isinstance(owner, mmap.mmap):  # which unmaps its pages
        _kept.append(owner)
