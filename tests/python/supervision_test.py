# SPDX-License-Identifier: Apache-2.0
"""What holds whoever dies or is stuck: close() ends all, nothing is left, siblings go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import eventually, is_alive

import echelon as ec


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def stop_myself(task: ec.Task) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def spin(task: ec.Task) -> None:
    while True:
        pass


def sleep(task: ec.Task) -> None:
    time.sleep(1000)


def pid(task: ec.Task) -> int:
    return os.getpid()


@pytest.mark.parametrize("unwilling", [spin, sleep, stop_myself])
def test_close_ends_a_sub_worker_that_does_not_want_to(unwilling: Any, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def begin(task: ec.Task) -> None:
        begun.touch()
        unwilling(task)

    host = ec.Worker(level=3, sub_workers=1)
    handle = host.register_sub(begin)
    host.start()
    child = host.tree().children[0].pid
    run = host.submit(lambda orch: orch.submit(handle) and None)
    assert eventually(begun.exists)
    host.close()
    assert not is_alive(child)
    with pytest.raises(ec.Error):
        run.wait()


def test_close_may_come_twice_and_before_start_and_a_start_after_it() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    who = host.register_sub(pid)
    host.close()
    seen = set()
    for _ in range(3):
        host.start()
        seen.add(host.run(lambda orch: orch.submit(who).result()))
        host.close()
        host.close()
    assert len(seen) == 3
    assert not any(is_alive(child) for child in seen)


def test_a_worker_has_no_thread_for_each_child() -> None:
    counts = []
    for sub_workers in (1, 16):
        with ec.Worker(level=3, sub_workers=sub_workers) as host:
            host.run(lambda orch: None)
            counts.append(threads())
    assert counts[0] == counts[1]


def test_a_stuck_tasks_deadline_ends_it_and_its_sibling_works_on() -> None:
    host = ec.Worker(level=3, sub_workers=2)
    stuck, who = host.register_sub(spin), host.register_sub(pid)
    with host:
        children = [child.pid for child in host.tree().children]

        def function(orch: ec.Orchestrator) -> None:
            orch.submit(stuck, worker=orch.sub_worker(0), deadline=0.2)

        with pytest.raises(ec.DeadlineExceeded) as raised:
            host.run(function)
        assert raised.value.path == "host0/sub0"
        assert raised.value.callable == "spin"
        there = host.run(lambda orch: orch.submit(who, worker=orch.sub_worker(1)).result())
        assert there == children[1]


def stack_of_stuck(stuck: Any) -> str:
    """What a deadline's error says of it; asked again while the answer comes too late for that."""
    stacks = [""]

    def told() -> bool:
        host = ec.Worker(level=3, sub_workers=1)
        handle = host.register_sub(stuck)
        with host, pytest.raises(ec.DeadlineExceeded) as raised:
            host.run(lambda orch: orch.submit(handle, deadline=0.2))
        stacks.append(raised.value.remote_traceback)
        return "C frames:" in stacks[-1]

    assert eventually(told), stacks[-1]
    return stacks[-1]


@pytest.mark.parametrize("stuck", [spin, sleep])
def test_a_stuck_tasks_python_frames_are_in_the_deadlines_error(stuck: Any) -> None:
    python, _, c = stack_of_stuck(stuck).partition("C frames:")
    assert python.startswith("Python frames (most recent call first):\n")
    assert 'supervision_test.py", line' in python
    assert f"in {stuck.__name__}" in python
    assert "#0" in c


def hold_interpreter(task: ec.Task) -> None:
    import ctypes

    while True:
        ctypes.PyDLL(None).usleep(100_000)  # does not give up the interpreter


def test_the_frames_of_a_task_that_holds_its_interpreter_are_known_too() -> None:
    assert "in hold_interpreter" in stack_of_stuck(hold_interpreter)


def test_a_stuck_orchestration_functions_frames_are_known_too() -> None:
    def stuck(orch: ec.Orchestrator) -> None:
        time.sleep(1000)

    def told() -> bool:
        pod = ec.Worker(level=4)
        pod.add_worker(ec.Worker(level=3, sub_workers=1))
        handle = pod.register_orch(stuck)
        with pod, pytest.raises(ec.DeadlineExceeded) as raised:
            pod.run(lambda orch: orch.submit(handle, deadline=0.2))
        return "in stuck" in raised.value.remote_traceback

    assert eventually(told)


def test_a_segmentation_fault_is_told_with_its_signal() -> None:
    def crash(task: ec.Task) -> None:
        import ctypes

        ctypes.string_at(8)

    host = ec.Worker(level=3, sub_workers=1)
    crashing = host.register_sub(crash, name="crash")
    with host, pytest.raises(ec.ChildLost, match="SIGSEGV") as raised:
        host.run(lambda orch: orch.submit(crashing))
    assert (raised.value.path, raised.value.callable) == ("host0/sub0", "crash")


def test_a_killed_program_leaves_no_process() -> None:
    source = """
        import sys, time, echelon as ec

        pod = ec.Worker(level=4, sub_workers=1)
        pod.add_worker(ec.Worker(level=3, sub_workers=1, chips=1))

        def spin(task):
            while True:
                pass

        def pids(node):
            return [node.pid] + [pid for child in node.children for pid in pids(child)]

        handle = pod.register_sub(spin)
        pod.start()
        run = pod.submit(lambda orch: orch.submit(handle) and None)
        print(*pids(pod.tree()), flush=True)
        time.sleep(1000)
    """
    program = [sys.executable, "-c", textwrap.dedent(source)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = [int(child) for child in process.stdout.readline().split()]
        process.kill()
    assert len(children) == 5
    assert eventually(lambda: not any(is_alive(child) for child in children))
