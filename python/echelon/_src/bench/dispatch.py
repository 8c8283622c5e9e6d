# SPDX-License-Identifier: Apache-2.0
"""What a task costs from Python, beside the machine's floor and the standard library's pools."""

from __future__ import annotations

from typing import Callable

import numpy as np

from .._core import (
    Args,
    Orchestrator,
    SubHandle,
    Task,
    Worker,
    _percentile,
    _register_empty,
    _Report,
    _slope,
)
from .pools import Calls, sample_executor, sample_pool
from .rounds import Operation, Rounds, median, rate

RUN_ONE_NS_MAX = 8_000
RUN_ONE_NATIVE_NS_MAX = 4_000
SLOPE_NS_MAX = 2_000
TASKS_PER_SECOND_MIN = 300_000
SINGLE_OVER_OTHERS_MIN = 10
BULK_OVER_POOL_MIN = 5
BULK_OVER_EXECUTOR_MIN = 15
LARGE_OVER_SMALL_MAX = 1.05

SLOPE_TASKS = (1, 4, 16, 64, 256, 1024)
RATE_TASKS = 1024
BULK_TASKS = 10_000
LARGE_BYTES, SMALL_BYTES = 64 << 20, 64


def nothing(task: Task) -> None:
    """An empty task."""


def open_array(task: Task) -> None:
    """A task that opens its argument as an array."""
    task.array(0)


def submit_one(handle: SubHandle, args: Args | None = None) -> Callable[[Orchestrator], object]:
    """An orchestration function that submits one task."""
    return lambda orch: orch.submit(handle, args)


def submit_many(handle: SubHandle, count: int) -> Callable[[Orchestrator], object]:
    """An orchestration function that submits `count` tasks."""

    def function(orch: Orchestrator) -> None:
        submit = orch.submit
        for _ in range(count):
            submit(handle)

    return function


class Host:
    """A host with one sub-worker. A context manager."""

    def __init__(self) -> None:
        self.worker = Worker(level=3, sub_workers=1)
        self.empty = self.worker.register_sub(nothing)
        self.open = self.worker.register_sub(open_array)
        self.native = _register_empty(self.worker, "native")

    def __enter__(self) -> Host:
        self.worker.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.worker.close()

    def operation(self, function: Callable[[Orchestrator], object]) -> Operation:
        """Its run()."""
        run = self.worker.run
        return lambda: run(function)


class Samples:
    """Nanoseconds of all that is measured, taken in blocks: a tree, then a pool, then an executor,
    of which no two are there at the same time."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds
        self.bulk_tasks = rounds.choose(BULK_TASKS, 200)
        self.native: list[float] = []
        self.by_tasks: list[list[float]] = [[] for _ in SLOPE_TASKS]
        self.rate: list[float] = []
        self.large: list[float] = []
        self.small: list[float] = []
        self.ours, self.pool, self.executor = Calls(), Calls(), Calls()

    def take_block(self) -> None:
        """One block of each."""
        with Host() as host:
            self._sample_single(host)
            self._sample_runs(host)
            self._sample_sizes(host)
        samples = self.rounds.choose(200, 5)
        sample_pool(self.rounds, self.pool, samples, self.bulk_tasks)
        sample_executor(self.rounds, self.executor, samples, self.bulk_tasks)

    def _sample_single(self, host: Host) -> None:
        one = host.operation(submit_one(host.empty))
        native = host.operation(submit_one(host.native))
        for _ in range(self.rounds.choose(20, 2)):
            self.ours.single += self.rounds.sample(one, self.rounds.choose(200, 10))
            self.native += self.rounds.sample(native, self.rounds.choose(200, 10))

    def _sample_runs(self, host: Host) -> None:
        choose = self.rounds.choose
        runs = [host.operation(submit_many(host.empty, tasks)) for tasks in SLOPE_TASKS]
        for _ in range(choose(12, 1)):
            for run, times in zip(runs, self.by_tasks):
                times += self.rounds.sample(run, choose(6, 2), 5)
        for _ in range(choose(6, 1)):
            run = host.operation(submit_many(host.empty, RATE_TASKS))
            self.rate += self.rounds.sample(run, choose(20, 2), 2)
        bulk = host.operation(submit_many(host.empty, self.bulk_tasks))
        self.ours.bulk += self.rounds.sample(bulk, choose(4, 1), 1)

    def _sample_sizes(self, host: Host) -> None:
        tensors = [
            host.worker.tensor(np.ones(size, np.uint8)) for size in (LARGE_BYTES, SMALL_BYTES)
        ]
        operations = [
            host.operation(submit_one(host.open, Args().input(tensor))) for tensor in tensors
        ]
        for _ in range(self.rounds.choose(10, 1)):
            large, small = self.rounds.sample_in_turn(operations, self.rounds.choose(100, 5))
            self.large += large
            self.small += small


def _add_tasks(report: _Report, samples: Samples) -> None:
    one = samples.ours.single
    report.add(
        "run_one_ns_p50",
        "run() of one empty Python task, hot, p50",
        "ns",
        median(one),
        at_most=RUN_ONE_NS_MAX,
    )
    report.add("run_one_ns_p99", "the same, p99", "ns", _percentile(one, 99))
    report.add(
        "run_one_native_ns_p50",
        "run() of one empty C++ task from Python, p50",
        "ns",
        median(samples.native),
        at_most=RUN_ONE_NATIVE_NS_MAX,
    )
    medians = [median(times) for times in samples.by_tasks]
    slope = _slope([float(tasks) for tasks in SLOPE_TASKS], medians)
    report.add("task_slope_ns", "each further task of a run", "ns", slope, at_most=SLOPE_NS_MAX)
    report.add(
        "tasks_per_second",
        "empty Python tasks, one child, in runs of 1,024",
        "/s",
        rate(RATE_TASKS, samples.rate),
        at_least=TASKS_PER_SECOND_MIN,
    )


def _add_others(report: _Report, samples: Samples) -> None:
    ours = samples.ours
    for key, name, calls, bulk_min in (
        ("pool", "multiprocessing.Pool(1)", samples.pool, BULK_OVER_POOL_MIN),
        ("executor", "ProcessPoolExecutor(1)", samples.executor, BULK_OVER_EXECUTOR_MIN),
    ):
        report.add(f"{key}_single_ns_p50", f"{name}: one call, p50", "ns", median(calls.single))
        report.add(
            f"single_vs_{key}",
            "the same over a run() of one task",
            "x",
            median(calls.single) / median(ours.single),
            at_least=SINGLE_OVER_OTHERS_MIN,
        )
        report.add(
            f"bulk_vs_{key}",
            f"{name}: time of {samples.bulk_tasks:,} tasks over that of one run",
            "x",
            median(calls.bulk) / median(ours.bulk),
            at_least=bulk_min,
        )


def bench_dispatch(quick: bool) -> _Report:
    """Half a minute. Forks; leaves nothing behind."""
    report = _Report("python_dispatch", "the same from Python, beside the standard library", quick)
    rounds = Rounds("python dispatch", quick)
    samples = Samples(rounds)
    blocks = rounds.choose(4, 1)
    for block in range(blocks):
        rounds.say(f"{block + 1} of {blocks}")
        samples.take_block()
    rounds.progress.clear()
    report.add_floor(rounds.floor)
    _add_tasks(report, samples)
    _add_others(report, samples)
    report.add(
        "large_arg_over_small",
        "run() with 64 MiB, as an array, over one with 64 bytes",
        "x",
        median(samples.large) / median(samples.small),
        at_most=LARGE_OVER_SMALL_MAX,
    )
    return report
