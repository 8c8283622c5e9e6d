# SPDX-License-Identifier: Apache-2.0
"""Random numbers that are the same everywhere: those of ../random.h.

SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). Its state is
a counter, so that many numbers are made at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class Random:
    """Numbers that `seed` decides."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def next(self, count: int) -> NDArray[np.uint64]:
        """The next `count` numbers of 64 bits."""
        steps = np.arange(1, count + 1, dtype=np.uint64)
        z = np.array([self._state], np.uint64) + steps * np.array([_GAMMA], np.uint64)
        self._state = (self._state + count * _GAMMA) & _MASK
        z = (z ^ (z >> np.uint64(30))) * np.array([0xBF58476D1CE4E5B9], np.uint64)
        z = (z ^ (z >> np.uint64(27))) * np.array([0x94D049BB133111EB], np.uint64)
        return z ^ (z >> np.uint64(31))

    def below(self, bounds: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """For each bound in turn a number 0..bound-1, each equally likely."""
        uneven = (np.array([0], np.uint64) - bounds) % bounds  # 2^64 modulo bound
        values = self.next(len(bounds))
        rejected = np.flatnonzero(values < uneven)
        while len(rejected) > 0:  # that one is passed over, and all after it move up
            first = rejected[0]
            values[first:-1] = values[first + 1 :]
            values[-1:] = self.next(1)
            rejected = np.flatnonzero(values < uneven)
        return values % bounds

    def symmetric(self, count: int) -> NDArray[np.float32]:
        """In [-1, 1), on a grid of 2^-23."""
        whole = (self.next(count) >> np.uint64(40)).astype(np.int64) - (1 << 23)
        return whole.astype(np.float32) * np.float32(2.0**-23)


def permutation(count: int, seed: int, stream: int) -> NDArray[np.int32]:
    """The numbers 0..count-1 in an order that `seed` and `stream` decide."""
    order = list(range(count))
    random = Random(int(Random(seed).next(1)[0]) ^ stream)
    swaps = random.below(np.arange(count, 1, -1, dtype=np.uint64)).tolist()
    for i, other in zip(range(count - 1, 0, -1), swaps):
        order[i], order[other] = order[other], order[i]
    return np.array(order, dtype=np.int32)
