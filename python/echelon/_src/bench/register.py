# SPDX-License-Identifier: Apache-2.0
"""What it costs to register a function in a running tree, beside the work that cannot be saved."""

from __future__ import annotations

import hashlib
import time
from typing import Callable

import cloudpickle

from .._core import Task, Worker, _Report
from .rounds import Rounds, median

CHILDREN = 8
SMALL_US_MAX = 300
CLOSURE_OVER_PARTS_MAX = 1.5
CLOSURE_BYTES = 10 << 20

Function = Callable[[Task], object]


def closure(number: int) -> Function:
    """A function that nobody has seen yet: its content differs with `number`."""
    return lambda task: number


def large_closure(number: int, rest: bytes) -> Function:
    """The same with some memory captured."""
    data = number.to_bytes(8, "little") + rest
    return lambda task: len(data)


def do_parts(function: Function) -> list[bytes]:
    """What shipping cannot do without, once: to serialise, to take the digest, and a copy in new
    memory for each child."""
    payload = cloudpickle.dumps(function)
    hashlib.sha256(payload).digest()
    view = memoryview(payload)
    return [bytes(view) for _ in range(CHILDREN)]


class Registering:
    """Registers functions on a running host, none of them twice."""

    def __init__(self, rounds: Rounds, worker: Worker) -> None:
        self.rounds = rounds
        self.worker = worker
        self.number = 0

    def next_number(self) -> int:
        """One that no function had."""
        self.number += 1
        return self.number

    def register_ns(self, function: Function) -> float:
        """How long register_sub() takes. The function does not stay."""
        begin = time.perf_counter_ns()
        handle = self.worker.register_sub(function)
        taken = time.perf_counter_ns() - begin
        self.worker.unregister(handle)
        return taken

    def small_round(self, samples: int) -> list[float]:
        """Of functions that capture a number."""
        self.rounds.begin_round([lambda: self.register_ns(closure(self.next_number()))], 10)
        return [self.register_ns(closure(self.next_number())) for _ in range(samples)]

    def large_over_parts(self, samples: int) -> list[tuple[float, float]]:
        """Of functions that capture 10 MiB: nanoseconds of register_sub(), and of the parts."""
        rest = bytes(CLOSURE_BYTES - 8)
        pairs: list[tuple[float, float]] = []
        for sample in range(samples + 1):
            function = large_closure(self.next_number(), rest)
            taken = self.register_ns(function)
            begin = time.perf_counter_ns()
            copies = do_parts(function)
            parts = time.perf_counter_ns() - begin
            del copies
            if sample > 0:  # the first is the warm-up
                pairs.append((taken, parts))
        return pairs


def bench_register(quick: bool) -> _Report:
    """Some seconds. Forks; leaves nothing behind."""
    report = _Report(
        "python_register", f"a Python function into a running tree of {CHILDREN} sub-workers", quick
    )
    rounds = Rounds("python register", quick)
    small: list[float] = []
    pairs: list[tuple[float, float]] = []
    with Worker(level=3, sub_workers=CHILDREN) as worker:
        registering = Registering(rounds, worker)
        # One after the other: what 10 MiB leave in the caches is not what a small one costs.
        count = rounds.choose(10, 1)
        for i in range(count):
            rounds.say(f"small, {i + 1} of {count}")
            small += registering.small_round(rounds.choose(50, 3))
        for i in range(count):
            rounds.say(f"10 MiB, {i + 1} of {count}")
            pairs += registering.large_over_parts(rounds.choose(3, 1))
    rounds.progress.clear()
    large = median([taken for taken, _ in pairs])
    floor = median([taken for _, taken in pairs])
    report.add_floor(rounds.floor)
    what = "register_sub() of a small closure, p50"
    report.add("us_p50", what, "us", median(small) / 1e3, at_most=SMALL_US_MAX)
    report.add("closure_10mib_ms_p50", "the same with 10 MiB captured, p50", "ms", large / 1e6)
    report.add(
        "parts_10mib_ms_p50",
        "floor: one cloudpickle.dumps(), one SHA-256, a copy for each child",
        "ms",
        floor / 1e6,
    )
    report.add(
        "closure_10mib_over_parts",
        "the closure over its parts",
        "x",
        large / floor,
        at_most=CLOSURE_OVER_PARTS_MAX,
    )
    return report
