# SPDX-License-Identifier: Apache-2.0
"""Lines of functions that are in no file, in the tracebacks of the processes that run them."""

from __future__ import annotations

import linecache
import subprocess
import sys
from pathlib import Path

import pytest

import echelon as ec
from echelon._src import sources

FAIL = """
import echelon as ec

host = ec.Worker(level=3, sub_workers=1)
BEFORE
def fail(task):
    wrong = task.scalars[0]
    return 1 / wrong  # a line to be found

REGISTER
try:
    host.run(lambda orch: orch.submit(h, ec.Args().scalar(0)).result())
except ec.TaskFailed as error:
    print(error.remote_traceback)
host.close()
"""
SHIPPED = FAIL.replace("BEFORE", "host.start()").replace("REGISTER", "h = host.register_sub(fail)")
INHERITED = FAIL.replace("BEFORE", "").replace("REGISTER", "h = host.register_sub(fail)")
WAYS = pytest.mark.parametrize("source", [SHIPPED, INHERITED], ids=["shipped", "inherited"])


def printed(*arguments: str, stdin: object = None) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        stdin=stdin,  # type: ignore[call-overload]
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return str(done.stdout)


@WAYS
def test_by_python_c(source: str) -> None:
    assert "return 1 / wrong  # a line to be found" in printed("-c", source)


@WAYS
def test_by_standard_input_from_a_file(source: str, tmp_path: Path) -> None:
    (tmp_path / "program").write_text(source)
    with (tmp_path / "program").open() as file:
        assert "return 1 / wrong  # a line to be found" in printed(stdin=file)


def test_a_cells_lines_travel_with_its_function() -> None:
    cell = "def fail(task):\n    return 1 / 0  # in a cell\n"
    name = "/tmp/ipykernel_of_a_test/1.py"
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    made: dict[str, object] = {"__name__": "__main__"}
    with ec.Worker(level=3, sub_workers=1) as host:
        exec(compile(cell, name, "exec"), made)
        h = host.register_sub(made["fail"])  # type: ignore[arg-type]
        with pytest.raises(ec.TaskFailed) as raised:
            host.run(lambda orch: orch.submit(h).result())
    assert "return 1 / 0  # in a cell" in raised.value.remote_traceback


def test_lines_of_a_file_stay_at_home() -> None:
    assert sources.of([test_lines_of_a_file_stay_at_home.__code__]) == []


def test_text_that_is_not_the_functions_is_not_taken_for_it() -> None:
    made: dict[str, object] = {}
    exec(compile("def there(): pass", "<string>", "exec"), made)
    assert sources.of([made["there"].__code__]) == []  # type: ignore[attr-defined]


def test_what_travels_is_bounded() -> None:
    name = "<a long cell>"
    lines = ["def long():\n", *["    x = 1\n"] * 10_000]
    linecache.cache[name] = (1, None, lines, name)
    made: dict[str, object] = {}
    exec(compile("".join(lines), name, "exec"), made)
    assert sources.of([made["long"].__code__]) == []  # type: ignore[attr-defined]


def test_lines_of_few_files_are_kept() -> None:
    for i in range(3000):
        sources.keep([(f"<bounded {i}>", 1, ("a line\n",))])
    assert linecache.getline("<bounded 2999>", 1) == "a line\n"
    assert linecache.getline("<bounded 0>", 1) == ""
