# SPDX-License-Identifier: Apache-2.0
"""Orchestration functions, results, several levels, chips."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import echelon as ec

CHIP_SOURCE = """
#include <echelon/chip_kernel.h>
ECHELON_KERNEL(triple) {
  auto x = echelon::kernel::values<const float>(args, context, 0);
  auto y = echelon::kernel::values<float>(args, context, 1);
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = 3 * x[i];
}
"""


def add_one(task: ec.Task) -> int:
    x, y = task.arrays()
    y[:] = x + 1
    return int(x.size)


def values(task: ec.Task) -> Any:
    return dict(task.config.values), task.config.grid


def pod_of(hosts: int, sub_workers: int = 1) -> ec.Worker:
    pod = ec.Worker(level=4)
    for i in range(hosts):
        pod.add_worker(ec.Worker(level=3, name=f"host{i}", sub_workers=sub_workers))
    return pod


def test_run_returns_what_the_function_returned() -> None:
    with ec.Worker(level=3) as host:
        made = object()
        assert host.run(lambda orch: made) is made


def test_a_submitted_run_keeps_its_functions_value() -> None:
    with ec.Worker(level=3) as host:
        assert host.submit(lambda orch: {"a": 1}).result() == {"a": 1}


def test_results_of_any_picklable_kind_come_back() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    things = [None, 0, "text", [1, {"a": (2.5,)}], np.arange(3)]
    at = host.register_sub(lambda task: things[int(task.scalars[0])])
    with host:
        for i, thing in enumerate(things):
            args = ec.Args().scalar(i)
            back = host.run(partial(lambda args, orch: orch.submit(at, args).result(), args))
            np.testing.assert_equal(back, thing)


def test_tasks_are_ordered_by_their_tags() -> None:
    host = ec.Worker(level=3, sub_workers=2)
    handle = host.register_sub(add_one)
    with host:
        tensors = [host.tensor((8,), np.int64) for _ in range(10)]

        def chain(orch: ec.Orchestrator) -> None:
            for x, y in zip(tensors, tensors[1:]):
                orch.submit(handle, ec.Args().input(x).output(y))

        host.run(chain)
        assert tensors[-1].array().tolist() == [9] * 8


def test_after_orders_tasks_without_tensors(tmp_path: Path) -> None:
    host = ec.Worker(level=3, sub_workers=2)
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    def first(task: ec.Task) -> None:
        begun.touch()
        time.sleep(0.05)  # so that a second that does not wait is there before the end
        ended.touch()

    def second(task: ec.Task) -> tuple[bool, str]:
        return ended.exists(), task.path

    firsts, seconds = host.register_sub(first), host.register_sub(second)
    with host:

        def function(orch: ec.Orchestrator) -> Any:
            before = orch.submit(firsts, worker=orch.sub_worker(0))
            while not begun.exists():
                time.sleep(0.001)
            return orch.submit(seconds, worker=orch.sub_worker(1), after=before).result()

        assert host.run(function) == (True, "host0/sub1")


def test_after_takes_several_tasks() -> None:
    host = ec.Worker(level=3, sub_workers=3)
    order = host.tensor((2,), np.int64)

    def note(task: ec.Task) -> None:
        time.sleep(0.02)
        task.array(0)[:] = 1

    noting = host.register_sub(note)
    reading = host.register_sub(lambda task: task.array(0).tolist())
    with host:

        def function(orch: ec.Orchestrator) -> Any:
            before = [orch.submit(noting, ec.Args().output(order[i : i + 1])) for i in range(2)]
            return orch.submit(reading, ec.Args().no_dep(order), after=before).result()

        assert host.run(function) == [1, 1]


def test_a_no_dep_tensor_is_read_only() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    x = host.tensor((2,), np.int64)

    def write(task: ec.Task) -> None:
        task.array(0)[0] = 1

    writing = host.register_sub(write)
    with host, pytest.raises(ec.TaskFailed, match="read-only"):
        host.run(lambda orch: orch.submit(writing, ec.Args().no_dep(x)))


def test_a_pod_runs_orchestration_functions_in_its_hosts() -> None:
    pod = pod_of(2)
    add = pod.register_sub(add_one)

    def on_host(orch: ec.Orchestrator, args: ec.TaskArgs) -> tuple[str, int]:
        x, y = args.handles()
        middle = orch.alloc(x.shape, x.dtype)
        orch.submit(add, ec.Args().input(x).output(middle))
        task = orch.submit(add, ec.Args().input(middle).output(y))
        return orch.path, task.result()

    each = pod.register_orch(on_host)
    with pod:
        xs = [pod.tensor(np.full(4, i)) for i in range(2)]
        ys = [pod.tensor((4,), np.int64) for _ in range(2)]

        def function(orch: ec.Orchestrator) -> list[tuple[str, int]]:
            tasks = [
                orch.submit(each, ec.Args().input(x).output(y), worker=orch.worker(i))
                for i, (x, y) in enumerate(zip(xs, ys))
            ]
            return [task.result() for task in tasks]

        assert pod.run(function) == [("pod0/host0", 4), ("pod0/host1", 4)]
        assert [y.array().tolist() for y in ys] == [[2] * 4, [3] * 4]


def test_an_error_two_levels_down_keeps_its_path_cause_and_lines() -> None:
    pod = pod_of(1)

    def fail(task: ec.Task) -> None:
        raise LookupError("deep down")  # the child's own line

    bad = pod.register_sub(fail)
    each = pod.register_orch(lambda orch: orch.submit(bad) and None)
    with pod, pytest.raises(ec.TaskFailed) as raised:
        pod.run(lambda orch: orch.submit(each))
    assert raised.value.path == "pod0/host0/sub0"
    assert isinstance(raised.value.__cause__, LookupError)
    assert "the child's own line" in str(raised.value)


def test_an_exception_of_an_orchestration_function_below_is_chained() -> None:
    pod = pod_of(1)

    def fail(orch: ec.Orchestrator) -> None:
        raise LookupError("on the host")

    each = pod.register_orch(fail)
    with pod, pytest.raises(ec.TaskFailed) as raised:
        pod.run(lambda orch: orch.submit(each))
    assert raised.value.path == "pod0/host0"
    assert isinstance(raised.value.__cause__, LookupError)


def test_a_config_reaches_the_callable() -> None:
    pod = pod_of(1)
    told = pod.register_sub(values)
    each = pod.register_orch(lambda orch, args, config: (orch.submit(told).result(), config.grid))
    with pod:
        config = ec.CallConfig(grid=(2, 3, 4), values={"seed": "7"})
        got = pod.run(lambda orch: orch.submit(each).result(), config=config)
    assert got == (({"seed": "7"}, (2, 3, 4)), (2, 3, 4))


def test_an_orchestration_function_may_not_keep_an_array_of_its_arguments() -> None:
    pod = pod_of(1)
    kept: list[Any] = []
    each = pod.register_orch(lambda orch, args: kept.append(args.array(0)))
    with pod:
        x = pod.tensor((4,), np.int8)
        with pytest.raises(ec.WrongState, match="keep a copy"):
            pod.run(lambda orch: orch.submit(each, ec.Args().input(x)))


def test_a_lent_handle_is_stale_after_its_function() -> None:
    pod = pod_of(1)
    kept: list[ec.Tensor] = []

    def keep(orch: ec.Orchestrator, args: ec.TaskArgs) -> None:
        kept.append(args.handle(0))

    def use(orch: ec.Orchestrator) -> None:
        kept[0].array()

    keeping, using = pod.register_orch(keep), pod.register_orch(use)
    with pod:
        x = pod.tensor((4,), np.int8)
        pod.run(lambda orch: orch.submit(keeping, ec.Args().input(x)))
        with pytest.raises(ec.StaleHandle, match="has ended"):
            pod.run(lambda orch: orch.submit(using))


def test_an_array_of_a_lent_handle_may_not_be_kept() -> None:
    pod = pod_of(1)
    kept: list[Any] = []
    each = pod.register_orch(lambda orch, args: kept.append(args.handle(0).array()))
    with pod:
        x = pod.tensor((4,), np.int8)
        with pytest.raises(ec.WrongState, match="keep a copy"):
            pod.run(lambda orch: orch.submit(each, ec.Args().input(x)))


def test_an_orchestrator_is_of_no_use_after_its_function() -> None:
    with ec.Worker(level=3) as host:
        orch = host.run(lambda orch: orch)
        with pytest.raises(ec.WrongState, match="has returned"):
            orch.alloc(1, np.int8)


def test_a_chip_kernel_runs_on_host_and_chip_tensors() -> None:
    host = ec.Worker(level=3, chips=1)
    triple = host.register_chip("triple", ec.ChipImage.from_source(CHIP_SOURCE, "triple"))
    with host:
        x, y = host.tensor(np.arange(4, dtype=np.float32)), host.tensor((4,), np.float32)
        on_chip = host.chip_tensor(0, (4,), np.float32)

        def function(orch: ec.Orchestrator) -> None:
            orch.submit(triple, ec.Args().input(x).output(on_chip))
            orch.copy(y, on_chip)

        host.run(function)
        assert y.array().tolist() == [0, 3, 6, 9]
        with pytest.raises(ec.Error, match="chip"):
            on_chip.array()


def test_a_kernel_that_does_not_compile_shows_the_compilers_words() -> None:
    with pytest.raises(ec.InvalidArgument, match="error"):
        ec.ChipImage.from_source("this is no C++", "triple")


def test_a_scope_waits_for_its_tasks_alone() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    handle = host.register_sub(add_one)
    with host:
        x, y = host.tensor(np.arange(4)), host.tensor((4,), np.int64)

        def function(orch: ec.Orchestrator) -> list[int]:
            with orch.scope("part") as scope:
                orch.submit(handle, ec.Args().input(x).output(y))
                scope.wait()
            return y.array().tolist()  # type: ignore[no-any-return]

        assert host.run(function) == [1, 2, 3, 4]


def test_a_worker_describes_itself() -> None:
    with pod_of(2) as pod:
        text = pod.describe()
        assert "host1" in text
        assert repr(pod) == "<Worker pod0, level 4, started>"
        assert [child.name for child in pod.tree().children] == ["host0", "host1"]


def test_a_task_handle_shows_callable_state_and_place() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    seven = host.register_sub(lambda task: 7, "seven")
    shown: list[str] = []

    def look(orch: ec.Orchestrator) -> ec.TaskHandle:
        task = orch.submit(seven)
        task.wait()
        shown.append(repr(task))
        return task

    with host:
        kept = host.run(look)
    assert shown == ["<TaskHandle 'seven', done at host0/sub0>"]
    assert repr(kept) == "<TaskHandle of a run that has ended>"


def test_a_worker_shows_where_in_its_life_it_is() -> None:
    pod, host = ec.Worker(level=4), ec.Worker(level=3, sub_workers=1)
    pod.add_worker(host)
    assert repr(pod) == "<Worker pod0, level 4, not started>"
    with pod:
        assert repr(pod) == "<Worker pod0, level 4, started>"
        assert repr(host) == "<Worker pod0/host0, level 3, runs in its parent's tree>"
    assert repr(pod) == "<Worker pod0, level 4, closed>"


def test_a_chip_image_shows_its_kernel() -> None:
    source = "#include <echelon/chip_kernel.h>\nECHELON_KERNEL(nothing) {}\n"
    assert repr(ec.ChipImage.from_source(source, "nothing")) == "<ChipImage nothing>"


# --- looking up by name


def test_callables_are_found_by_name() -> None:
    pod = pod_of(1)

    def where(task: ec.Task) -> str:
        return task.path

    def ask(orch: ec.Orchestrator) -> Any:
        return orch.submit(orch.find_sub("where")).result()

    pod.register_sub(where, name="where")
    pod.register_orch(ask, name="ask")
    with pod:
        found = pod.run(lambda orch: orch.submit(orch.find_orch("ask")).result())
        assert found == "pod0/host0/sub0"
        pod.register_sub(lambda task: "late", name="late")

        def ask_late(orch: ec.Orchestrator) -> Any:
            return orch.submit(orch.find_sub("late")).result()

        late = pod.register_orch(ask_late)
        assert pod.run(lambda orch: orch.submit(late).result()) == "late"


def test_a_chip_kernel_is_found_by_name() -> None:
    with ec.Worker(level=3, chips=1) as host:
        host.register_chip("three times", ec.ChipImage.from_source(CHIP_SOURCE, "triple"))
        x, y = host.tensor(4, "float32"), host.tensor(4, "float32")
        x.array()[:] = 2

        def run(orch: ec.Orchestrator) -> None:
            orch.submit(orch.find_chip("three times"), ec.Args().input(x).output(y))

        host.run(run)
        assert y.array().tolist() == [6] * 4


def test_a_name_that_nobody_has_is_told_with_those_that_there_are() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    host.register_sub(add_one)
    with host:
        with pytest.raises(ec.InvalidArgument, match='there are "add_one"'):
            host.run(lambda orch: orch.find_sub("nothing"))
        wrong: Any = None
        with pytest.raises(TypeError, match="name: "):
            host.run(lambda orch: orch.find_sub(wrong))
