# SPDX-License-Identifier: Apache-2.0
"""What runs in the tree: sub functions in NumPy, the hosts' orchestration functions, and the chips'
kernels in C++ (../kernel.cc). The order of arguments stands beside each submit in trainer.py.

All is registered before start(): children inherit functions with what they captured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from model import ModelShape, descend
from plan import busy_chips, share_of
from splitmix import permutation

import echelon as ec

# --- sub functions ------------------------------------------------------------------------------


def shuffle(task: ec.Task) -> None:
    """out order; scalars seed, epoch"""
    (order,) = task.arrays()
    seed, epoch = task.scalars
    order[:] = permutation(len(order), seed, epoch)


def read_rows(task: ec.Task) -> None:
    """in features, labels, order; out the rows that order names"""
    features, labels, order, batch_features, batch_labels = task.arrays()
    batch_features[:] = features[order]
    batch_labels[:] = labels[order]


def add_rows(task: ec.Task) -> None:
    """out total [1, n]; in parts [any, n], or none for a total of zero"""
    total, *parts = task.arrays()
    total[:] = parts[0].sum(axis=0) if parts else 0


@dataclass(frozen=True)
class Descend:
    shape: ModelShape

    def __call__(self, task: ec.Task) -> None:
        """in sums [hosts, n]; inout parameters, velocity, epoch loss f64[2]"""
        sums, parameters, velocity, epoch_loss = task.arrays()
        epoch_loss += descend(sums.sum(axis=0), self.shape.rate, parameters, velocity)


def report(task: ec.Task) -> tuple[float, int, int]:
    """in counts [hosts, 2]; inout epoch loss. Returns mean loss, rows told right, rows."""
    counts, epoch_loss = task.arrays()
    right, rows = counts.sum(axis=0).tolist()
    loss = float(epoch_loss[0] / epoch_loss[1])
    epoch_loss[:] = 0
    return loss, right, rows


# --- orchestration functions of the hosts -------------------------------------------------------


@dataclass(frozen=True)
class HostBatch:
    parameters: ec.Tensor
    features: ec.Tensor  # [rows, features]
    labels: ec.Tensor  # [rows]


@dataclass(frozen=True)
class Host:
    shape: ModelShape
    read_rows: ec.SubHandle
    add_rows: ec.SubHandle
    gradient: ec.ChipHandle
    predict: ec.ChipHandle

    def step(self, orch: ec.Orchestrator, args: ec.TaskArgs) -> None:
        """out sums; in parameters, features, labels [, order: none, no rows]"""
        sums, parameters, features, labels, *order = args.handles()
        if not order:
            orch.submit(self.add_rows, ec.Args().output(sums))
            return
        batch = HostBatch(
            parameters,
            orch.alloc((len(order[0]), features.shape[1]), np.float32),
            orch.alloc(len(order[0]), np.int32),
        )
        reading = ec.Args().input(features).input(labels).input(order[0])
        orch.submit(self.read_rows, reading.output(batch.features).output(batch.labels))
        self._spread(orch, self.gradient, batch, sums)

    def evaluate(self, orch: ec.Orchestrator, args: ec.TaskArgs) -> None:
        """out counts; in parameters [, features, labels: none, no rows]"""
        counts, parameters, *rows = args.handles()
        if not rows:
            orch.submit(self.add_rows, ec.Args().output(counts))
            return
        features, labels = rows
        self._spread(orch, self.predict, HostBatch(parameters, features, labels), counts)

    def _spread(
        self, orch: ec.Orchestrator, kernel: ec.ChipHandle, batch: HostBatch, total: ec.Tensor
    ) -> None:
        """Runs `kernel` on every chip's share of the batch and adds up what they find."""
        rows = len(batch.labels)
        chips = busy_chips(rows, orch.chip_count)
        parts = orch.alloc((chips, total.size), np.int64)
        for chip in range(chips):
            share = share_of(rows, chips, chip)
            orch.submit(
                kernel,
                ec.Args()
                .input(batch.parameters)
                .input(batch.features[share])
                .input(batch.labels[share])
                .output(parts[chip : chip + 1])
                .scalar(self.shape.hidden, np.int32)
                .scalar(self.shape.classes, np.int32),
                worker=orch.chip(chip),
            )
        orch.submit(self.add_rows, ec.Args().output(total).input(parts))


# --- the chips' kernels --------------------------------------------------------------------------


class Kernels(NamedTuple):
    gradient: ec.ChipImage
    predict: ec.ChipImage


def load_kernels(folder: Path, built: Path) -> Kernels:
    """Those of the shared object `built`, or, where it is not there, of the C++ in `folder`,
    compiled now. Raises echelon.InvalidArgument."""
    names = ("digits_gradient", "digits_predict")
    if built.is_file():
        return Kernels(*(ec.ChipImage.from_file(built, name) for name in names))
    source = '#include "kernel.cc"\n#include "model.cc"\n'
    # No contraction, so that every machine rounds alike.
    flags = ["-I", str(folder), "-O3", "-ffp-contract=off"]
    return Kernels(*(ec.ChipImage.from_source(source, name, flags) for name in names))


# --- registration -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Callables:
    """What the pod itself submits."""

    shuffle: ec.SubHandle
    descend: ec.SubHandle
    report: ec.SubHandle
    step: ec.OrchHandle
    evaluate: ec.OrchHandle


def register_callables(pod: ec.Worker, shape: ModelShape, kernels: Kernels) -> Callables:
    """Registers all on `pod`, for its whole subtree."""
    host = Host(
        shape,
        pod.register_sub(read_rows, "read"),
        pod.register_sub(add_rows, "add"),
        pod.register_chip("gradient", kernels.gradient),
        pod.register_chip("predict", kernels.predict),
    )
    return Callables(
        pod.register_sub(shuffle),
        pod.register_sub(Descend(shape), "descend"),
        pod.register_sub(report),
        pod.register_orch(host.step, "step"),
        pod.register_orch(host.evaluate, "evaluate"),
    )
