# SPDX-License-Identifier: Apache-2.0
"""What it takes to start a Worker in Python behind a daemon that keeps a runner ready."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .._core import RemoteWorkerSpec, Worker, _Report
from .rounds import Rounds, median

READY_MS_MAX = 150
SUB_WORKERS = CHIPS = 2
#: For the daemon to have made another runner; far longer than that takes.
RUNNER_SECONDS_MAX = 60
#: A runner that has used no processor for so long waits.
AT_REST_SECONDS = 0.2


@contextlib.contextmanager
def _daemon() -> Iterator[tuple[int, str]]:
    """Its pid, and where it serves."""
    command = [sys.executable, "-m", "echelon", "daemon", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.pid, process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _runners(daemon: int) -> list[int]:
    """Processes that its spawner has made of a runner: one is kept ready, the others are
    sessions."""
    found = []
    for pid in (child for spawner in _children(daemon) for child in _children(spawner)):
        with contextlib.suppress(OSError):
            if b"echelon._src.runner" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _processor_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return int(fields[11]) + int(fields[12])


def _await_runner(daemon: int) -> None:
    """Until one is kept that has loaded, and no session is left. Raises TimeoutError."""
    end = time.monotonic() + RUNNER_SECONDS_MAX
    before: tuple[list[int], list[int]] = ([], [])
    while time.monotonic() < end:
        runners = _runners(daemon)
        now = runners, [_processor_ticks(pid) for pid in runners]
        if len(runners) == 1 and now == before and now[1][0] > 0:
            return
        before = now
        time.sleep(AT_REST_SECONDS)
    raise TimeoutError(f"the daemon kept no runner ready for {RUNNER_SECONDS_MAX} s")


def _start_ms(address: str) -> float:
    """Of a pod with one host in Python; it is closed again."""
    pod = Worker(level=4, name="pod0")
    pod.add_remote_worker(
        RemoteWorkerSpec(address, "host0", sub_workers=SUB_WORKERS, chips=CHIPS, runtime="python")
    )
    begin = time.perf_counter_ns()
    pod.start()
    taken = time.perf_counter_ns() - begin
    pod.close()
    return taken / 1e6


def _import_ms() -> float:
    begin = time.perf_counter_ns()
    imports = "import echelon, numpy, cloudpickle"
    subprocess.run([sys.executable, "-c", imports], check=True, env={**os.environ})
    return (time.perf_counter_ns() - begin) / 1e6


def bench_remote(quick: bool) -> _Report:
    """Half a minute. Starts a daemon; leaves nothing behind."""
    report = _Report("python_remote", "a Worker in Python behind a daemon on loopback", quick)
    rounds = Rounds("python remote", quick)
    starts: list[float] = []
    imports: list[float] = []
    with _daemon() as (daemon, address):
        count = rounds.choose(20, 1)
        for i in range(count):
            rounds.say(f"start, {i + 1} of {count}")
            imports.append(_import_ms())
            _await_runner(daemon)
            starts.append(_start_ms(address))
    rounds.progress.clear()
    report.add(
        "import_ms_p50",
        "a Python that imports what a runner has imported ahead, p50",
        "ms",
        median(imports),
    )
    report.add(
        "ready_python_ms_p50",
        f"start() with a session in Python of {SUB_WORKERS} sub-workers and {CHIPS} cpu chips, p50",
        "ms",
        median(starts),
        at_most=READY_MS_MAX,
    )
    return report
