# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C wherever a program waits: for a run, a registration, a tree that starts or ends."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import children, eventually

import echelon as ec


def until_cancelled(task: ec.Task) -> None:
    while not task.cancelled():
        time.sleep(0.01)


@pytest.mark.parametrize("call", ["wait", "result"])
def test_ctrl_c_cancels_the_run_that_is_waited_for(call: str) -> None:
    with ec.Worker(level=3, sub_workers=1) as host:
        endless = host.register_sub(until_cancelled)
        run = host.submit(lambda orch: orch.submit(endless))
        threading.Timer(0.3, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            getattr(run, call)()
        assert eventually(run.done)
        seven = host.register_sub(lambda task: 7)
        assert host.run(lambda orch: orch.submit(seven).result()) == 7


SLOW_START = """
import os, signal, threading, time
import echelon as ec

os.register_at_fork(after_in_child=lambda: time.sleep(0.5))
host = ec.Worker(level=3, sub_workers=1)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    host.start()
except KeyboardInterrupt:
    print("started" if host.started else "closed")
"""


def test_a_start_that_ctrl_c_came_into_leaves_nothing_started() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW_START], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr


STUCK_START = """
import os, signal, threading, time
from pathlib import Path
import echelon as ec

me = os.getpid()
os.register_at_fork(after_in_child=lambda: os.getppid() == me or time.sleep(1000))
host = ec.Worker(level=3, sub_workers=1)
threading.Timer(0.3, os.kill, (me, signal.SIGINT)).start()
try:
    host.start()
except KeyboardInterrupt:
    left = [(task / "children").read_text() for task in Path("/proc/self/task").iterdir()]
    print("started" if host.started else "closed", *left)
"""


def test_a_start_that_does_not_end_is_given_up_and_leaves_no_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK_START],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["closed"]), done.stderr


def press_ctrl_c(after: float = 0.3) -> None:
    threading.Timer(after, _thread.interrupt_main).start()


# --- while a callable is being registered


@pytest.fixture()
def pod() -> Iterator[ec.Worker]:
    made = ec.Worker(level=4, sub_workers=1)
    made.add_worker(ec.Worker(level=3, sub_workers=1))
    with made:
        yield made


@pytest.fixture()
def stopped(pod: ec.Worker) -> Iterator[int]:
    """The pod's own sub-worker, which answers nothing."""
    pid = pod.tree().children[0].pid
    os.kill(pid, signal.SIGSTOP)
    yield pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def seven(task: ec.Task) -> int:
    return 7


def test_ctrl_c_gives_up_a_registration_and_the_worker_goes_on(
    pod: ec.Worker, stopped: int
) -> None:
    press_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        pod.register_sub(seven, timeout=100)
    os.kill(stopped, signal.SIGCONT)
    again = pod.register_sub(seven)
    assert pod.run(lambda orch: orch.submit(again).result()) == 7


def test_who_has_not_answered_is_in_doubt_until_it_has_forgotten(
    pod: ec.Worker, stopped: int
) -> None:
    press_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        pod.register_sub(seven, "late", timeout=100)
    assert "in doubt about slot 0 (late)" in pod.describe()
    os.kill(stopped, signal.SIGCONT)
    assert eventually(lambda: "in doubt" not in pod.describe())


@pytest.mark.parametrize("call", ["path", "orch", "orch path"])
def test_every_form_of_registration_can_be_given_up(
    pod: ec.Worker, stopped: int, call: str
) -> None:
    (host_pid,) = (child.pid for child in pod.tree().children if child.kind == "worker")
    os.kill(host_pid, signal.SIGSTOP)
    press_ctrl_c()
    try:
        with pytest.raises(KeyboardInterrupt):
            if call == "path":
                pod.register_sub("math:sin", timeout=100)
            elif call == "orch":
                pod.register_orch(lambda orch: orch.path, timeout=100)
            else:
                pod.register_orch("math:sin", timeout=100)
    finally:
        os.kill(host_pid, signal.SIGCONT)
    where = pod.register_orch(lambda orch: orch.path)
    assert pod.run(lambda orch: orch.submit(where).result()) == "pod0/host0"


def test_ctrl_c_ends_the_wait_for_another_threads_registration_of_the_same(
    pod: ec.Worker, stopped: int
) -> None:
    handles: list[ec.SubHandle] = []
    other = threading.Thread(target=lambda: handles.append(pod.register_sub(seven, timeout=100)))
    other.start()
    press_ctrl_c(after=0.6)
    time.sleep(0.3)  # the other thread is mostly first; who is not gives up its own
    with pytest.raises(KeyboardInterrupt):
        pod.register_sub(seven, timeout=100)
    os.kill(stopped, signal.SIGCONT)
    other.join()
    assert pod.run(lambda orch: orch.submit(handles[0]).result()) == 7


# --- while a tree ends


def test_ctrl_c_in_close_comes_through_when_no_process_is_left() -> None:
    host = ec.Worker(level=3, sub_workers=1)
    before = children()
    host.start()
    os.kill(host.tree().children[0].pid, signal.SIGSTOP)  # is killed, in time
    press_ctrl_c(after=0.1)
    with pytest.raises(KeyboardInterrupt):
        host.close()
        time.sleep(100)
    assert children() == before
    assert not host.started


# --- while a remote exception becomes one here


class PressesCtrlC(Exception):
    """Where it is unpickled in the program, Ctrl-C comes."""

    def __reduce__(self) -> Any:
        return interrupt_program, ()


def interrupt_program() -> Exception:
    _thread.interrupt_main()
    for _ in range(1000):
        time.sleep(0.01)
    return ValueError("Ctrl-C was swallowed")


def test_ctrl_c_while_a_remote_exception_is_unpickled_comes_through() -> None:
    def fail(task: ec.Task) -> None:
        raise PressesCtrlC("far away")

    host = ec.Worker(level=3, sub_workers=1)
    failing = host.register_sub(fail)
    with host:
        with pytest.raises(KeyboardInterrupt) as raised:
            host.run(lambda orch: orch.submit(failing).result())
        assert isinstance(raised.value.__cause__, ec.TaskFailed)
        assert "far away" in str(raised.value.__cause__)
        assert host.run(lambda orch: orch.path) == "host0"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
