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
