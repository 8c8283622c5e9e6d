# SPDX-License-Identifier: Apache-2.0
"""Pickles of limited size."""

from __future__ import annotations

import pickle
from typing import Any


class _TooLarge(Exception):
    pass


class _BoundedFile:
    """Takes so many bytes and no more; the pickler hands over what it has every 64 KiB."""

    def __init__(self, most: int) -> None:
        self.parts: list[bytes] = []
        self._left = most

    def write(self, part: Any) -> None:
        self._left -= len(part)
        if self._left < 0:
            raise _TooLarge
        self.parts.append(bytes(part))


def dumps(value: Any, most: int) -> bytes | None:
    """The pickle; None: it would have more than `most` bytes, and is not made to its end."""
    file = _BoundedFile(most)
    try:
        pickle.Pickler(file, 5).dump(value)
    except _TooLarge:
        return None
    return b"".join(file.parts)
