# SPDX-License-Identifier: Apache-2.0
"""Rounds: samples of an operation and of the machine's floor in turn."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

from .._core import _FloorMeter, _percentile, _Progress

T = TypeVar("T")

FLOOR_SAMPLES = 40
#: Unmeasured operations at the begin of each round: the peers wake up.
WARM_UP = 30
#: And for so long at least: a waiter that met the floor's partner on its core does not yield for
#: 10 ms (src/shm/waiter.h), and an operation is not hot before that is over.
WARM_UP_NS = 30_000_000

Operation = Callable[[], object]


class Rounds:
    """Takes samples, and the floor between them, so that both belong to the same placement of
    processes on cores. Forks the floor's partner: make it before any Worker."""

    def __init__(self, name: str, quick: bool) -> None:
        self.name = name
        self.quick = quick
        self.floor = _FloorMeter()
        self.progress = _Progress()

    def choose(self, full: T, shortened: T) -> T:
        """Of two counts the one that applies."""
        return shortened if self.quick else full

    def say(self, text: str) -> None:
        """What goes on, on a terminal."""
        self.progress.say(f"{self.name}: {text}")

    def begin_round(self, operations: list[Operation], warm_up: int = WARM_UP) -> None:
        """The floor, then the operations unmeasured until they are hot."""
        self.floor.round(FLOOR_SAMPLES)
        clock = time.perf_counter_ns
        warm_until = clock() + (0 if self.quick else WARM_UP_NS)
        done = 0
        while done < warm_up or clock() < warm_until:
            done += 1
            for operation in operations:
                operation()

    def sample(self, operation: Operation, samples: int, warm_up: int = WARM_UP) -> list[float]:
        """One round: the nanoseconds of each measured operation."""
        return self.sample_in_turn([operation], samples, warm_up)[0]

    def sample_in_turn(
        self, operations: list[Operation], samples: int, warm_up: int = WARM_UP
    ) -> list[list[float]]:
        """One round of several operations, one of each after the other."""
        self.begin_round(operations, warm_up)
        clock = time.perf_counter_ns
        taken: list[list[float]] = [[] for _ in operations]
        for _ in range(samples):
            for operation, times in zip(operations, taken):
                begin = clock()
                operation()
                times.append(clock() - begin)
        return taken


def median(samples: list[float]) -> float:
    """0 of none."""
    return _percentile(samples, 50)


def rate(tasks: int, samples: list[float]) -> float:
    """Tasks a second: all tasks by all the time (ns) that their runs took."""
    return len(samples) * tasks * 1e9 / sum(samples)
