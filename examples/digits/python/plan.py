# SPDX-License-Identifier: Apache-2.0
"""Who does what share of the rows, and how many tasks that makes. No result depends on it."""

from __future__ import annotations

from dataclasses import dataclass

#: So many of the largest terms fit into the sums (../fixed_point.h).
BATCH_ROWS = 64


@dataclass(frozen=True)
class TreeShape:
    """Hosts of the pod, and chips of each host."""

    hosts: int
    chips: int


def share_of(count: int, parts: int, index: int) -> slice:
    """Part `index` of `parts` of the rows 0..count-1: in order, sizes at most one apart."""
    each, left = divmod(count, parts)
    begin = each * index + min(index, left)
    return slice(begin, begin + each + (1 if index < left else 0))


def busy_chips(rows: int, chips: int) -> int:
    """How many of `chips` get a row."""
    return min(rows, chips)


def steps_per_epoch(rows: int) -> int:
    return -(-rows // BATCH_ROWS)


def batch_of_step(rows: int, step: int) -> slice:
    """BATCH_ROWS rows, what is left in the last step."""
    return slice(step * BATCH_ROWS, min(rows, (step + 1) * BATCH_ROWS))


def tasks_per_epoch(training_rows: int, held_out_rows: int, tree: TreeShape) -> int:
    """Callables run in the whole tree for one epoch."""
    tasks = 2  # shuffle, report
    for step in range(steps_per_epoch(training_rows)):
        batch = batch_of_step(training_rows, step)
        tasks += 1  # descend
        for host in range(tree.hosts):
            rows = _size(share_of(_size(batch), tree.hosts, host))
            tasks += 2 + (1 if rows > 0 else 0) + busy_chips(rows, tree.chips)
    for host in range(tree.hosts):
        rows = _size(share_of(held_out_rows, tree.hosts, host))
        tasks += 2 + busy_chips(rows, tree.chips)
    return tasks


def _size(rows: slice) -> int:
    return int(rows.stop - rows.start)
