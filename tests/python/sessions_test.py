# SPDX-License-Identifier: Apache-2.0
"""Sessions in Python: functions of Python on other hosts, which are daemons of this machine."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import children, daemon, eventually, is_alive

import echelon as ec

# The functions of this file go by value, as those of a program do: no other host has this module.
import cloudpickle  # isort: skip

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a daemon that takes pickles."""
    with daemon("--allow", "pickle", "--max-sessions", "64") as made:
        yield made.address


def pod_at(address: str, **spec: Any) -> tuple[ec.Worker, ec.WorkerId]:
    pod = ec.Worker(level=4, name="pod0")
    spec = {"sub_workers": 2, **spec}
    return pod, pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0", **spec))


def double(task: ec.Task) -> float:
    x = task.arrays()[0]
    x *= 2
    return float(x.sum())


def call(pod: ec.Worker, handle: Any, *args: Any, **options: Any) -> Any:
    return pod.run(lambda orch: orch.submit(handle, *args, **options).result())


# --- functions there


def test_a_python_orchestration_function_uses_a_python_sub_on_a_tensor_there(address: str) -> None:
    pod, far = pod_at(address)
    sub = pod.register_sub(double)
    on_host = pod.register_orch(
        lambda orch, args: (orch.path, orch.submit(sub, ec.Args().inout(args.handle(0))).result())
    )
    with pod:
        x = pod.remote_tensor(far, 4, np.float32)
        pod.copy_to(x, [1, 2, 3, 4])
        assert call(pod, on_host, ec.Args().inout(x)) == ("pod0/host0", 20.0)
        assert pod.copy_from(x).tolist() == [2, 4, 6, 8]


def test_functions_are_registered_and_taken_back_while_the_remote_tree_runs(address: str) -> None:
    pod, _ = pod_at(address)
    with pod:
        sub = pod.register_sub(lambda task: task.path.rpartition("/")[0])
        orch = pod.register_orch(lambda orch: orch.submit(sub).result())
        assert call(pod, orch) == "pod0/host0"
        pod.unregister(orch)
        with pytest.raises(ec.StaleHandle):
            call(pod, orch)


def test_a_large_function_is_registered_in_a_running_remote_tree(address: str) -> None:
    table = bytes(range(256)) * 400  # over what goes in a frame
    pod, _ = pod_at(address)
    with pod:
        assert call(pod, pod.register_orch(lambda orch: len(table))) == 102_400


def test_one_transaction_reaches_local_python_and_native_children(address: str) -> None:
    pod, far = pod_at(address)
    near = pod.add_worker(ec.Worker(level=3, name="near"))
    pod.add_remote_worker(ec.RemoteWorkerSpec(address, "native", runtime="native"))
    with pod:
        path = pod.register_orch(lambda orch: orch.path)
        assert call(pod, path, worker=near) == "pod0/near"
        assert call(pod, path, worker=far) == "pod0/host0"


def test_what_a_function_captures_is_a_copy_there(address: str) -> None:
    counted = [0]

    def count(orch: ec.Orchestrator) -> int:
        counted[0] += 1
        return counted[0]

    pod, _ = pod_at(address)
    handle = pod.register_orch(count)
    with pod:
        assert [call(pod, handle) for _ in range(3)] == [1, 2, 3]
    assert counted == [0]


def test_a_hundred_tasks_run_in_the_same_processes(address: str) -> None:
    pod, far = pod_at(address, sub_workers=1)
    sub = pod.register_sub(lambda task: (os.getpid(), float(task.arrays()[0].sum())))
    orch = pod.register_orch(
        lambda orch, args: (
            os.getpid(),
            *orch.submit(sub, ec.Args().input(args.handle(0))).result(),
        )
    )
    with pod:
        seen = set()
        for i in range(100):
            x = pod.remote_tensor(far, 2, np.float32)
            pod.copy_to(x, [i, i])
            pid, sub_pid, total = call(pod, orch, ec.Args().input(x))
            assert total == 2 * i
            seen.add((pid, sub_pid))
        assert len(seen) == 1


def test_what_cannot_be_shipped_is_refused_where_it_would_run(address: str) -> None:
    lock = __import__("threading").Lock()
    pod, far = pod_at(address)
    near = pod.add_worker(ec.Worker(level=3, name="near"))
    locked = pod.register_orch(lambda orch: lock.locked(), "locked")
    with pod:
        assert call(pod, locked, worker=near) is False
        with pytest.raises(
            ec.Error, match="locked.*closure.*lock.*threading.Lock cannot be shipped"
        ):
            call(pod, locked, worker=far)


def test_an_error_there_comes_with_its_traceback_as_text(address: str) -> None:
    pod, _ = pod_at(address)
    divide = pod.register_sub(lambda task: 1 / task.scalars[0], "divide")
    orch = pod.register_orch(lambda orch: orch.submit(divide, ec.Args().scalar(0)).result())
    with pod, pytest.raises(ec.TaskFailed, match="ZeroDivisionError") as raised:
        call(pod, orch)
    assert raised.value.path.startswith("pod0/host0/sub")
    assert "ZeroDivisionError: division by zero" in raised.value.remote_traceback
    assert "1 / task.scalars[0]" in raised.value.remote_traceback
    assert raised.value.__cause__ is None  # nothing of it was unpickled here


def test_a_sessions_exceptions_are_unpickled_where_its_spec_trusts_it(address: str) -> None:
    pod, _ = pod_at(address, trust_results=True)
    nothing: dict[str, int] = {}
    fail = pod.register_orch(lambda orch: nothing["absent"])
    with pod, pytest.raises(ec.TaskFailed) as raised:
        call(pod, fail)
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_function_that_holds_the_interpreter_is_not_taken_for_dead(address: str) -> None:
    pod, _ = pod_at(address, health_deadline=0.3, lease=0.6, unresponsive_after=0.3)
    seconds = 1.5  # several of each

    def hold(orch: ec.Orchestrator) -> str:
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # does not let go of it
        return "held"

    held = pod.register_orch(hold)
    with pod:
        assert call(pod, held) == "held"


def test_a_function_that_is_stuck_comes_with_its_python_stack(address: str) -> None:
    def wait_here(orch: ec.Orchestrator) -> None:
        time.sleep(100)

    def stack() -> str:
        pod, _ = pod_at(address)
        stuck = pod.register_orch(wait_here)
        with pod, pytest.raises(ec.DeadlineExceeded, match="pod0/host0") as raised:
            pod.run(lambda orch: orch.submit(stuck).result(), deadline=0.5)
        return raised.value.remote_traceback

    # A thread that does not get a processor in 50 ms says nothing of itself.
    assert eventually(lambda: "wait_here" in stack(), seconds=60)


def test_a_pod_is_closed_and_started_again_with_its_functions(address: str) -> None:
    pod, _ = pod_at(address)
    path = pod.register_orch(lambda orch: (orch.path, os.getpid()))
    pids = set()
    for _ in range(2):
        with pod:
            where, pid = call(pod, path)
            assert where == "pod0/host0"
            pids.add(pid)
    assert len(pids) == 2


BELOW = """
import sys
import echelon as ec

super_node = ec.Worker(level=5, name="super0")
pod = ec.Worker(level=4, name="pod0")
pod.add_remote_worker(ec.RemoteWorkerSpec(sys.argv[1], "host0"))
super_node.add_worker(pod)
path = super_node.register_orch(lambda orch: orch.path)
below = super_node.register_orch(lambda orch: orch.submit(path).result())
with super_node:
    print(super_node.run(lambda orch: orch.submit(below).result()))
    late = super_node.register_orch(lambda orch: orch.path.upper())
    below_late = super_node.register_orch(lambda orch: orch.submit(late).result())
    print(super_node.run(lambda orch: orch.submit(below_late).result()))
"""


def test_a_pod_below_another_worker_brings_its_functions_along(
    address: str, tmp_path: Path
) -> None:
    # A program of its own: the pod's process is forked, and gRPC is used there for the first time.
    program = tmp_path / "program.py"
    program.write_text(BELOW)
    done = subprocess.run(
        [sys.executable, str(program), address],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "super0/pod0/host0\nSUPER0/POD0/HOST0\n"


def test_python_there_submits_kernels_to_the_chips_there() -> None:
    source = """#include <echelon/chip_kernel.h>
ECHELON_KERNEL(fill) {
  for (auto& value : echelon::kernel::values<float>(args, context, 0)) value = 7;
}"""
    with daemon("--allow", "pickle,library") as made:
        pod, _ = pod_at(made.address, chips=1)
        fill = pod.register_chip("fill", ec.ChipImage.from_source(source, "fill"))

        def on_host(orch: ec.Orchestrator) -> Any:
            x = orch.alloc(3, np.float32)
            orch.submit(fill, ec.Args().output(x)).wait()
            return np.array(x.array())

        handle = pod.register_orch(on_host)
        with pod:
            assert call(pod, handle).tolist() == [7, 7, 7]


def test_what_is_printed_there_is_in_the_daemons_output_with_its_path() -> None:
    with daemon("--allow", "pickle") as made:
        pod, _ = pod_at(made.address)
        say = pod.register_orch(lambda orch: print("hello"))
        with pod:
            call(pod, say)
            assert made.process.stdout is not None
            assert made.process.stdout.readline() == "[pod0/host0] hello\n"


# --- the daemon's Python


def test_a_daemon_without_a_python_refuses_by_name_and_serves_on() -> None:
    from echelon._src.command_line import program

    command = [str(program()), "daemon", "--listen", "127.0.0.1:0", "--allow", "pickle"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as p:
        assert p.stdout is not None
        at = p.stdout.readline().split()[-1]
        pod, _ = pod_at(at)
        with pytest.raises(ec.StartFailed, match=r"host0 is to run Python.*--python PATH.*native"):
            pod.start()
        pod, _ = pod_at(at, runtime="native")
        with pod:
            assert pod.tree().children[0].state == "ready"
        p.terminate()


def test_a_python_that_cannot_be_run_is_refused_when_the_daemon_starts() -> None:
    for path, words in (("/nowhere/python3", "cannot be run: No such file"), ("python3", "a path")):
        done = subprocess.run(
            [sys.executable, "-m", "echelon", "daemon", "--python", path],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 2
        assert f"--python {path}: " in done.stderr and words in done.stderr


def test_a_python_without_the_package_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\necho "No module named echelon" >&2\nexit 1\n')
    broken.chmod(0o755)
    with daemon("--allow", "pickle", "--python", str(broken)) as made:
        pod, _ = pod_at(made.address)
        with pytest.raises(ec.StartFailed, match="No module named echelon"):
            pod.start()


# --- its processes


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found |= {child} | descendants(child)
    return found


def runner_of(pid: int) -> int | None:
    """The process that a daemon keeps ready."""
    for child in descendants(pid):
        if b"echelon._src.runner" in Path(f"/proc/{child}/cmdline").read_bytes():
            return child
    return None


def test_the_runner_that_is_kept_becomes_the_session_and_another_is_made() -> None:
    with daemon("--allow", "pickle") as made:
        assert eventually(lambda: runner_of(made.process.pid) is not None)
        kept = runner_of(made.process.pid)
        pod, _ = pod_at(made.address)
        with pod:
            assert pod.tree().children[0].pid == kept
            assert eventually(
                lambda: any(
                    b"echelon._src.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
                    for pid in descendants(made.process.pid) - {kept} - descendants(kept or 0)
                )
            )


def test_a_runner_that_is_killed_is_replaced_and_the_daemon_serves_on() -> None:
    with daemon("--allow", "pickle") as made:
        assert eventually(lambda: runner_of(made.process.pid) is not None)
        kept = runner_of(made.process.pid)
        assert kept is not None
        os.kill(kept, signal.SIGKILL)
        assert eventually(lambda: not is_alive(kept))
        pod, _ = pod_at(made.address)
        path = pod.register_orch(lambda orch: orch.path)
        with pod:
            assert call(pod, path) == "pod0/host0"
            assert pod.tree().children[0].pid != kept


def test_a_session_that_is_killed_fails_its_task_and_leaves_nothing(address: str) -> None:
    pod, _ = pod_at(address)
    wait = pod.register_orch(lambda orch: time.sleep(100))
    with pod:
        there = pod.tree().children[0]
        pids = [there.pid, *(child.pid for child in there.children)]
        run = pod.submit(lambda orch: orch.submit(wait))
        os.kill(there.pid, signal.SIGKILL)
        with pytest.raises(ec.ChildLost, match="pod0/host0.*SIGKILL"):
            run.wait()
        assert eventually(lambda: not any(map(is_alive, pids)))


def test_a_daemon_that_is_killed_takes_runner_and_sessions_with_it() -> None:
    with daemon("--allow", "pickle") as made:
        pod, _ = pod_at(made.address)
        pod.start()
        assert eventually(lambda: len(descendants(made.process.pid)) >= 6)
        pids = descendants(made.process.pid)
        made.process.kill()
        assert eventually(lambda: not any(map(is_alive, pids)))
        pod.close()
    assert not children() & pids
