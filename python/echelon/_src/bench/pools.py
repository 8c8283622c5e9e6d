# SPDX-License-Identifier: Apache-2.0
"""The standard library's pools of one process, doing what one sub-worker does."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from .rounds import Rounds

#: The fastest start method, and the same for both.
_CONTEXT = multiprocessing.get_context("fork")
WARM_UP = 10


@dataclass
class Calls:
    """Nanoseconds of single calls, and of all BULK_TASKS together."""

    single: list[float] = field(default_factory=list)
    bulk: list[float] = field(default_factory=list)


def nothing(_: int) -> None:
    """An empty task."""


def sample_pool(rounds: Rounds, calls: Calls, samples: int, tasks: int) -> None:
    """multiprocessing.Pool(1), chunk size 1. Nothing of it is left."""
    with _CONTEXT.Pool(1) as pool:
        calls.single += rounds.sample(lambda: pool.apply(nothing, (1,)), samples, WARM_UP)
        everything = range(tasks)
        calls.bulk += rounds.sample(lambda: pool.map(nothing, everything, chunksize=1), 1, 0)
        pool.close()
        pool.join()


def sample_executor(rounds: Rounds, calls: Calls, samples: int, tasks: int) -> None:
    """concurrent.futures.ProcessPoolExecutor(1). Nothing of it is left."""
    with ProcessPoolExecutor(1, _CONTEXT) as executor:
        one = rounds.sample(lambda: executor.submit(nothing, 1).result(), samples, WARM_UP)
        calls.single += one
        everything = range(tasks)
        calls.bulk += rounds.sample(lambda: list(executor.map(nothing, everything)), 1, 0)
