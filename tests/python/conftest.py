# SPDX-License-Identifier: Apache-2.0
"""What the tests share: small trees, and a look at what is left of them."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

import echelon as ec

# A shell starts what it puts into the background with Ctrl-C ignored, which Python keeps.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: A test that takes longer hangs; pytest has printed its stacks by then (pyproject.toml).
HANG_SECONDS = 110


#: Under AddressSanitizer a thread that begins while a tree is forked may hold the lock that the
#: child then waits for, so that none is made beside those of the tests themselves.
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """Ends a test run that hangs, and says where."""
    if SANITIZED:  # tools/dev/python.sh ends the run
        yield
        return
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    """Waits until it holds; False after `seconds`, which a test that passes never takes."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m echelon``, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "echelon", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


class Daemon(NamedTuple):
    """``python -m echelon daemon``, and where it serves."""

    process: subprocess.Popen[str]
    address: str


@contextlib.contextmanager
def daemon(*arguments: str) -> Iterator[Daemon]:
    """One of this machine's; ended with the block."""
    command = [sys.executable, "-m", "echelon", "daemon", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"echelon daemon: serving at (\S+)\n", line)
            assert found is not None, f"{command} said {line!r}"
            yield Daemon(process, found[1])
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def daemon_address() -> Iterator[str]:
    """Where a daemon serves that takes libraries."""
    with daemon("--allow", "library", "--max-sessions", "64") as made:
        yield made.address


def build_library(folder: Path, source: str | Path) -> Path:
    """A shared object with named C++ functions, made as a user of the wheel makes one."""
    written, made = folder / "more.cc", folder / "more.so"
    if isinstance(source, Path):
        written = source
    else:
        written.write_text(source)
    command = [os.environ.get("ECHELON_CXX", "c++"), "-std=c++20", "-shared", "-fPIC"]
    command += [f"-I{ec.get_include()}", str(written), "-o", str(made)]
    command += [f"-L{ec.get_library_dir()}", "-lechelon"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


def children() -> set[int]:
    """Pids of this process's children."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Every test closes what it started."""
    before = children()
    yield
    left = {pid for pid in children() - before if Path(f"/proc/{pid}").exists()}
    assert not left, f"processes left by the test: {left} (of {os.getpid()})"
