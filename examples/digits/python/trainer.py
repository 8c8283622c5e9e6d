# SPDX-License-Identifier: Apache-2.0
"""The training, on a tree: pod0 (level 4, one sub-worker), below it host0.. (level 3, one
sub-worker and some chips each). ../trainer.h has the picture of one step.

Nobody waits for a step before the next one is submitted: parameters, sums and orders are tensors,
and what their tags say is the order.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from callables import Callables, Kernels, register_callables
from dataset import Dataset
from model import ModelShape, initial_parameters
from numpy.typing import NDArray
from plan import TreeShape, batch_of_step, share_of, steps_per_epoch, tasks_per_epoch

import echelon as ec

#: Submitted but not yet seen to end: enough that nobody in the tree waits for the next one.
_STEPS_IN_FLIGHT_MAX = 16


@dataclass(frozen=True)
class TrainOptions:
    tree: TreeShape
    epochs: int
    hidden: int
    seed: int
    kernels: Kernels


@dataclass(frozen=True)
class EpochReport:
    epoch: int  # from 1
    loss: float
    right: int  # of the held-out rows
    held_out: int
    tasks_per_second: float

    @property
    def accuracy(self) -> float:
        return self.right / self.held_out


@dataclass(frozen=True)
class Trained:
    parameters: NDArray[np.float32]
    last: EpochReport
    seconds: float  # from the first submit to the end of the last task
    tree: ec.NodeInfo  # as it stood then


class Observer:
    """What a training tells while it runs."""

    def started(self, tree: str) -> None: ...

    def step_done(self) -> None: ...

    def epoch_done(self, report: EpochReport) -> None: ...


def model_shape(dataset: Dataset, hidden: int) -> ModelShape:
    return ModelShape(dataset.features, hidden, len(dataset.classes))


def make_pod(tree: TreeShape) -> ec.Worker:
    pod = ec.Worker(level=4, name="pod0", sub_workers=1)
    for host in range(tree.hosts):
        pod.add_worker(ec.Worker(level=3, name=f"host{host}", sub_workers=1, chips=tree.chips))
    return pod


def train(dataset: Dataset, options: TrainOptions, observer: Observer) -> Trained:
    """Starts a tree, trains, closes it. The parameters depend on dataset, epochs, hidden and seed,
    not on the tree. Raises echelon.Error."""
    shape = model_shape(dataset, options.hidden)
    pod = make_pod(options.tree)
    callables = register_callables(pod, shape, options.kernels)
    with pod:
        observer.started(pod.describe())
        tensors = _Tensors(pod, dataset, shape, options)
        begin = time.perf_counter()
        last = pod.run(lambda orch: _Training(orch, callables, tensors, options, observer).run())
        seconds = time.perf_counter() - begin
        return Trained(tensors.parameters.array().copy(), last, seconds, pod.tree())


class _Tensors:
    """All tensors of one training; the pod's."""

    def __init__(
        self, pod: ec.Worker, dataset: Dataset, shape: ModelShape, options: TrainOptions
    ) -> None:
        hosts = options.tree.hosts
        self.features = pod.tensor(dataset.training.features)
        self.labels = pod.tensor(dataset.training.labels)
        self.held_out_features = pod.tensor(dataset.held_out.features)
        self.held_out_labels = pod.tensor(dataset.held_out.labels)
        self.parameters = pod.tensor(initial_parameters(shape, options.seed))
        self.velocity = pod.tensor(shape.parameter_count, np.float32)
        self.sums = pod.tensor((hosts, shape.sum_count), np.int64)  # a row a host
        self.counts = pod.tensor((hosts, 2), np.int64)
        self.epoch_loss = pod.tensor(2, np.float64)  # loss, samples
        # In turn: the next epoch is shuffled while one is trained.
        self.orders = [pod.tensor(len(dataset.training), np.int32) for _ in range(2)]


class _Training:
    """The pod's orchestration function."""

    def __init__(
        self,
        orch: ec.Orchestrator,
        callables: Callables,
        tensors: _Tensors,
        options: TrainOptions,
        observer: Observer,
    ) -> None:
        self._orch = orch
        self._callables = callables
        self._tensors = tensors
        self._options = options
        self._observer = observer
        self._in_flight: deque[tuple[ec.TaskHandle, bool]] = deque()  # bool: it ends an epoch
        self._reports: list[EpochReport] = []
        self._epoch_begin = time.perf_counter()

    def run(self) -> EpochReport:
        for epoch in range(self._options.epochs):
            order = self._tensors.orders[epoch % 2]
            shuffled = ec.Args().output(order).scalar(self._options.seed).scalar(epoch)
            self._orch.submit(self._callables.shuffle, shuffled)
            for step in range(steps_per_epoch(len(order))):
                self._submit_step(order[batch_of_step(len(order), step)])
            self._submit_report()
        while self._in_flight:
            self._take_oldest()
        return self._reports[-1]

    def _submit_step(self, batch: ec.Tensor) -> None:
        tensors, hosts = self._tensors, self._options.tree.hosts
        for host in range(hosts):
            args = ec.Args().output(tensors.sums[host : host + 1]).input(tensors.parameters)
            args.input(tensors.features).input(tensors.labels)
            share = batch[share_of(len(batch), hosts, host)]
            if len(share) > 0:
                args.input(share)
            self._orch.submit(self._callables.step, args, worker=self._orch.worker(host))
        descent = ec.Args().input(tensors.sums).inout(tensors.parameters)
        descent.inout(tensors.velocity).inout(tensors.epoch_loss)
        self._keep(self._orch.submit(self._callables.descend, descent))

    def _submit_report(self) -> None:
        tensors, hosts = self._tensors, self._options.tree.hosts
        for host in range(hosts):
            args = ec.Args().output(tensors.counts[host : host + 1]).input(tensors.parameters)
            share = share_of(len(tensors.held_out_labels), hosts, host)
            if share.stop > share.start:
                args.input(tensors.held_out_features[share]).input(tensors.held_out_labels[share])
            self._orch.submit(self._callables.evaluate, args, worker=self._orch.worker(host))
        figures = ec.Args().input(tensors.counts).inout(tensors.epoch_loss)
        self._keep(self._orch.submit(self._callables.report, figures), ends_epoch=True)

    def _keep(self, task: ec.TaskHandle, ends_epoch: bool = False) -> None:
        self._in_flight.append((task, ends_epoch))
        if len(self._in_flight) > _STEPS_IN_FLIGHT_MAX:
            self._take_oldest()

    def _take_oldest(self) -> None:
        task, ends_epoch = self._in_flight.popleft()
        if ends_epoch:
            self._end_epoch(*task.result())
        else:
            task.wait()
            self._observer.step_done()

    def _end_epoch(self, loss: float, right: int, held_out: int) -> None:
        now = time.perf_counter()
        tasks = tasks_per_epoch(len(self._tensors.labels), held_out, self._options.tree)
        rate = tasks / max(now - self._epoch_begin, 1e-9)
        self._epoch_begin = now
        report = EpochReport(len(self._reports) + 1, loss, right, held_out, rate)
        self._reports.append(report)
        self._observer.epoch_done(report)
