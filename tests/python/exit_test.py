# SPDX-License-Identifier: Apache-2.0
"""What a program says when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENDS_BY_AN_ERROR = """\
import echelon as ec

other = ec.Worker(level=3, sub_workers=1)

def main():
    host = ec.Worker(level=3, sub_workers=1)
    handle = host.register_sub(lambda task: 1 / 0)
    host.start()
    host.run(lambda orch: orch.submit(handle).result())

main()
"""

DROPS_EVERYTHING = """\
import numpy as np

import echelon as ec

def add(task):
    x, y = task.arrays()
    y[:] = x + task.scalars[0]

def main():
    host = ec.Worker(level=3, sub_workers=1, chips=1)
    early = host.register_sub(add)
    with host:
        late = host.register_sub(lambda task: task.config.values)
        x = host.tensor(np.arange(4.0))
        y = host.tensor((4,), np.float64)
        args = ec.Args().input(x).output(y).scalar(1.0)
        run = host.submit(lambda orch: orch.submit(early, args).wait())
        assert run.wait() and y.array()[3] == 4
        config = ec.CallConfig(values={"a": "b"})
        host.run(lambda orch: orch.submit(late, config=config, worker=orch.sub_worker(0)).result())
        try:
            host.run(lambda orch: orch.submit(early).result())
        except ec.TaskFailed as error:
            assert error.__cause__ is not None

main()
"""


def run_program(path: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    file = path / "program.py"
    file.write_text(text)
    return subprocess.run(
        [sys.executable, str(file)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_program_that_ends_by_an_error_prints_that_error_alone(tmp_path: Path) -> None:
    ended = run_program(tmp_path, ENDS_BY_AN_ERROR)
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
    assert "nanobind" not in ended.stderr


def test_a_program_that_drops_everything_leaks_nothing(tmp_path: Path) -> None:
    ended = run_program(tmp_path, DROPS_EVERYTHING, ECHELON_LEAK_CHECK="1")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_leak_check_sees_what_is_left(tmp_path: Path) -> None:
    ended = run_program(tmp_path, ENDS_BY_AN_ERROR, ECHELON_LEAK_CHECK="1")
    assert "nanobind: leaked" in ended.stderr
