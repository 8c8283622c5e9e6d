# SPDX-License-Identifier: Apache-2.0
"""Classes that a script or a notebook makes after the start: children know them from shipped
functions alone, and what they return or raise is of the program's own class nevertheless."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import dataclasses
import echelon as ec

with ec.Worker(level=3, sub_workers=1) as host:
    host.run(lambda orch: None)

    @dataclasses.dataclass
    class Point:
        x: int

    class Mine(Exception):
        pass

    def make(task):
        return Point(task.scalars[0])

    def fail(task):
        raise Mine("by name")

    made = host.register_sub(make)
    point = host.run(lambda orch: orch.submit(made, ec.Args().scalar(7)).result())
    assert type(point) is Point and point == Point(7), point
    try:
        host.run(lambda orch: orch.submit(host.register_sub(fail)))
    except ec.TaskFailed as error:
        assert type(error.__cause__) is Mine, repr(error.__cause__)
        assert error.__cause__.args == ("by name",)
    else:
        raise SystemExit("nothing was raised")
"""


def test_results_and_exceptions_of_such_classes_come_back(tmp_path: Path) -> None:
    file = tmp_path / "cell.py"
    file.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
