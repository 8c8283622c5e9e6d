# SPDX-License-Identifier: Apache-2.0
"""Memory that children are not to copy."""

from __future__ import annotations

from typing import Any

from ._core import _keep_private


def keep_private(array: Any) -> None:
    """Keeps the memory of `array` (whole pages of it) out of every process that start() forks.

    They do not copy it, and touching it there is an error. Lasts until the memory is unmapped.
    For large arrays (megabytes) that only the program itself needs. Raises TypeError for what has
    no buffer, BufferError for memory that is not contiguous.

    >>> table = np.zeros(1_000_000)
    >>> ec.keep_private(table)
    """
    _keep_private(memoryview(array).cast("B"))
