# SPDX-License-Identifier: Apache-2.0
"""The smallest programs."""

from __future__ import annotations

import numpy as np

import echelon as ec


def scale(task: ec.Task) -> None:
    x, y = task.arrays()
    y[:] = task.scalars[0] * x


def test_a_function_runs_in_a_sub_worker_on_shared_memory() -> None:
    host = ec.Worker(level=3, sub_workers=2)
    scaled = host.register_sub(scale)
    with host:
        x, y = host.tensor(np.arange(4, dtype=np.float32)), host.tensor((4,), np.float32)
        host.run(lambda orch: orch.submit(scaled, ec.Args().input(x).output(y).scalar(3.0)))
        np.testing.assert_array_equal(y.array(), [0, 3, 6, 9])
