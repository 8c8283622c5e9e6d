# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C where a program waits for a run it has submitted, and while a tree starts."""

from __future__ import annotations

import _thread
import subprocess
import sys
import threading
import time

import pytest
from conftest import eventually

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
