# SPDX-License-Identifier: Apache-2.0
"""What a failure says, and what is left of the Worker afterwards."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

import echelon as ec


class OddError(Exception):
    """Cannot be unpickled: its __init__ wants more than its args hold."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__("odd")


def nothing(task: ec.Task) -> None:
    pass


def divide(task: ec.Task) -> float:
    return 1 / float(task.scalars[0])  # a line to be found


def raise_odd(task: ec.Task) -> None:
    raise OddError(1, 2)


def leave(task: ec.Task) -> None:
    raise SystemExit(3)


def die(task: ec.Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def slow(task: ec.Task) -> None:
    while not task.cancelled():
        time.sleep(0.001)


def return_lock(task: ec.Task) -> Any:
    return threading.Lock()


def return_much(task: ec.Task) -> bytes:
    return bytes(2 << 20)


class Host:
    """A host whose sub-workers know the functions above."""

    def __init__(self) -> None:
        self.worker = ec.Worker(level=3, sub_workers=2)
        functions = (nothing, divide, raise_odd, leave, die, slow, return_lock, return_much)
        self.handles = {f: self.worker.register_sub(f) for f in functions}
        self.worker.start()

    def run(self, function: Any, *scalars: Any, **options: Any) -> Any:
        args = ec.Args()
        for scalar in scalars:
            args.scalar(scalar)
        handle = self.handles[function]
        return self.worker.run(lambda orch: orch.submit(handle, args).result(), **options)


@pytest.fixture()
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.worker.close()


def test_an_exception_comes_back_as_the_cause(host: Host) -> None:
    with pytest.raises(ec.TaskFailed) as raised:
        host.run(divide, 0)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_an_error_says_where_and_in_what(host: Host) -> None:
    with pytest.raises(ec.TaskFailed) as raised:
        host.run(divide, 0)
    error = raised.value
    assert error.path in ("host0/sub0", "host0/sub1")
    assert error.pid in {child.pid for child in host.worker.tree().children}
    assert error.callable == "divide"
    assert error.phase == "running"
    assert error.cause == "exception"
    assert "ZeroDivisionError" in error.message


def test_the_remote_traceback_has_the_childs_own_lines(host: Host) -> None:
    with pytest.raises(ec.TaskFailed) as raised:
        host.run(divide, 0)
    assert "a line to be found" in raised.value.remote_traceback
    assert "a line to be found" in str(raised.value)


def test_an_exception_that_cannot_be_unpickled_is_still_text(host: Host) -> None:
    with pytest.raises(ec.TaskFailed, match="OddError: odd") as raised:
        host.run(raise_odd)
    assert raised.value.__cause__ is None


def test_sys_exit_in_a_task_is_its_failure_not_the_processs_end(host: Host) -> None:
    before = {child.pid for child in host.worker.tree().children}
    with pytest.raises(ec.TaskFailed, match="SystemExit: 3"):
        host.run(leave)
    assert {child.pid for child in host.worker.tree().children} == before


def test_a_killed_child_is_named(host: Host) -> None:
    with pytest.raises(ec.ChildLost) as raised:
        host.run(die)
    assert raised.value.cause == "signal"
    assert raised.value.path.startswith("host0/sub")


def test_a_failed_run_leaves_the_worker_usable(host: Host) -> None:
    with pytest.raises(ec.TaskFailed):
        host.run(divide, 0)
    assert host.run(divide, 4) == 0.25


def test_other_errors_of_a_run_are_listed(host: Host) -> None:
    def two(orch: ec.Orchestrator) -> None:
        for _ in range(2):
            orch.submit(host.handles[divide], ec.Args().scalar(0))

    with pytest.raises(ec.TaskFailed) as raised:
        host.worker.run(two)
    assert len(raised.value.others) == 1
    assert isinstance(raised.value.others[0], ec.TaskFailed)


def test_a_deadline_ends_a_run(host: Host) -> None:
    with pytest.raises(ec.DeadlineExceeded):
        host.run(slow, deadline=0.02)


@pytest.mark.parametrize("deadline", [0, 0.0, -1, float("nan"), timedelta(0)])
def test_a_deadline_of_no_time_is_refused(host: Host, deadline: Any) -> None:
    with pytest.raises(ec.InvalidArgument, match="None means no deadline"):
        host.worker.run(lambda orch: None, deadline=deadline)
    with pytest.raises(ec.InvalidArgument, match="None means no deadline"):
        host.worker.run(lambda orch: orch.submit(host.handles[divide], deadline=deadline))


def test_a_deadline_below_a_nanosecond_is_one_nanosecond(host: Host) -> None:
    with pytest.raises(ec.DeadlineExceeded):
        host.run(slow, deadline=1e-10)


def test_deadline_exceeded_is_a_timeout_error(host: Host) -> None:
    with pytest.raises(TimeoutError):
        host.run(slow, deadline=0.02)


def test_a_result_that_cannot_be_pickled_says_so(host: Host) -> None:
    with pytest.raises(ec.TaskFailed, match="cannot be pickled"):
        host.run(return_lock)


def test_a_result_beyond_the_limit_is_refused(host: Host) -> None:
    with pytest.raises(ec.Error, match="at most 1048576"):
        host.run(return_much)


def test_what_the_orchestration_function_raises_comes_out_unchanged(host: Host) -> None:
    given = KeyError("mine")

    def function(orch: ec.Orchestrator) -> None:
        raise given

    with pytest.raises(KeyError) as raised:
        host.worker.run(function)
    assert raised.value is given


def test_a_submitted_run_reports_its_functions_exception_as_cause(host: Host) -> None:
    def function(orch: ec.Orchestrator) -> None:
        raise KeyError("mine")

    run = host.worker.submit(function)
    with pytest.raises(ec.TaskFailed, match="KeyError") as raised:
        run.wait()
    assert isinstance(raised.value.__cause__, KeyError)


def test_cancelling_a_run_raises_cancelled(host: Host) -> None:
    run = host.worker.submit(lambda orch: orch.submit(host.handles[slow]))
    assert not run.wait(timeout=0)
    run.cancel()
    with pytest.raises(ec.Cancelled):
        run.wait()
    assert host.run(divide, 2) == 0.5


def test_an_error_can_be_pickled(host: Host) -> None:
    with pytest.raises(ec.TaskFailed) as raised:
        host.run(divide, 0)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert type(copy) is ec.TaskFailed
    assert "ZeroDivisionError" in str(copy)


def test_submitting_a_function_instead_of_its_handle_is_a_type_error(host: Host) -> None:
    with pytest.raises(TypeError, match="register"):
        host.worker.run(lambda orch: orch.submit(nothing))  # type: ignore[arg-type]


def test_submitting_something_else_is_a_type_error(host: Host) -> None:
    with pytest.raises(TypeError, match="a handle was expected, not str"):
        host.worker.run(lambda orch: orch.submit("nothing"))  # type: ignore[arg-type]


def test_a_handle_of_another_worker_is_refused(host: Host) -> None:
    other = ec.Worker(level=3, sub_workers=1)
    foreign = other.register_sub(nothing)
    with pytest.raises(ec.InvalidArgument):
        host.worker.run(lambda orch: orch.submit(foreign))


def test_a_closed_worker_refuses_work_and_says_how_to_go_on(host: Host) -> None:
    host.worker.close()
    with pytest.raises(ec.WrongState, match="was closed"):
        host.run(nothing)


def test_a_worker_cannot_be_pickled(host: Host) -> None:
    with pytest.raises(TypeError, match="a Worker cannot be pickled"):
        pickle.dumps(host.worker)


def test_a_name_given_twice_is_refused() -> None:
    worker = ec.Worker(level=3, sub_workers=1)
    worker.register_sub(nothing, name="one")
    with pytest.raises(ec.InvalidArgument, match="one"):
        worker.register_sub(divide, name="one")


def test_functions_of_one_name_do_not_collide_unless_it_was_given() -> None:
    worker = ec.Worker(level=3, sub_workers=1)
    handles = [worker.register_sub(lambda task: None) for _ in range(3)]
    assert len({handle.name for handle in handles}) == 3


def test_the_same_function_is_the_same_thing() -> None:
    worker = ec.Worker(level=3, sub_workers=1)
    assert worker.register_sub(nothing) == worker.register_sub(nothing)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="a function was expected"):
        ec.Worker(level=3, sub_workers=1).register_sub(3)  # type: ignore[arg-type]


def test_a_level_2_worker_refuses_python_callables() -> None:
    chip = ec.Worker(level=2, chips=1)
    with pytest.raises(ec.InvalidArgument, match="chip kernels only"):
        chip.register_sub(nothing)


def test_an_orchestration_function_without_arguments_is_refused() -> None:
    with pytest.raises(TypeError, match=r"takes \(orch\)"):
        ec.Worker(level=3, sub_workers=1).register_orch(lambda: None)


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ec.InvalidArgument, match="level 7"):
        ec.Worker(level=7)


def test_invalid_argument_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        ec.Worker(level=7)


def test_an_array_instead_of_a_tensor_is_refused_with_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"host\.tensor\(array\)"):
        ec.Args().input(np.zeros(3))  # type: ignore[arg-type]


@pytest.fixture()
def mixed() -> Iterator[ec.Worker]:
    """A pod whose children are of every kind but a chip's; and a chip below."""
    pod = ec.Worker(level=4, sub_workers=1)
    pod.add_worker(ec.Worker(level=3, chips=1))
    with pod:
        yield pod


def test_a_sub_handle_for_a_worker_that_runs_others_is_a_type_error(mixed: ec.Worker) -> None:
    sub = mixed.register_sub(nothing)
    with pytest.raises(TypeError, match="host0 runs orchestration tasks") as raised:
        mixed.run(lambda orch: orch.submit(sub, worker=orch.worker(0)))
    assert isinstance(raised.value, ec.WrongKind)
    assert isinstance(raised.value, ec.InvalidArgument)
    assert (raised.value.code, raised.value.reason) == ("invalid argument", "wrong kind")


def test_an_orch_handle_for_a_group_of_sub_workers_is_a_type_error(mixed: ec.Worker) -> None:
    each = mixed.register_orch(lambda orch: None)
    with pytest.raises(ec.WrongKind, match="sub0 runs sub-worker tasks"):
        mixed.run(lambda o: o.submit_group(each, [ec.Args()], workers=[o.sub_worker(0)]))


def test_a_kind_that_no_child_runs_is_a_type_error() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    each = host.register_orch(lambda orch: None)
    with host, pytest.raises(ec.WrongKind, match="no child of host0 can run"):
        host.run(lambda orch: orch.submit(each))


def test_a_wrong_kind_below_comes_back_as_one(mixed: ec.Worker) -> None:
    sub = mixed.register_sub(nothing)

    def on_chip(orch: ec.Orchestrator) -> None:
        orch.submit(sub, worker=orch.chip(0))

    each = mixed.register_orch(on_chip)
    with pytest.raises(ec.WrongKind, match="chip0 runs chip tasks") as raised:
        mixed.run(lambda orch: orch.submit(each).result())
    assert raised.value.path == "pod0/host0"
