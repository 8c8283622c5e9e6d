# SPDX-License-Identifier: Apache-2.0
"""Pickles of limited size."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle


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


def _dumps(pickler: Any, value: Any, most: int) -> bytes | None:
    file = _BoundedFile(most)
    try:
        pickler(file, protocol=5).dump(value)
    except _TooLarge:
        return None
    return b"".join(file.parts)


def dumps(value: Any, most: int) -> bytes | None:
    """The pickle; None: it would have more than `most` bytes, and is not made to its end."""
    try:
        return _dumps(pickle.Pickler, value, most)
    except (pickle.PicklingError, AttributeError, TypeError):
        # A class of a script or a notebook that came with a shipped function: this process cannot
        # name it. cloudpickle sends it back whole, and where it came from it is the class it was.
        return _dumps(cloudpickle.Pickler, value, most)
