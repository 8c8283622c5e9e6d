# SPDX-License-Identifier: Apache-2.0
"""The smallest program, word for word, in every place where a person types one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

IMPORTS = "import numpy as np, echelon as ec\n"

SCALE = """
def scale(task):
    x, y = task.arrays()              # NumPy views on shared memory, no copy; x is read-only
    y[:] = task.scalars[0] * x
"""

USE = """
with ec.Worker(level=3, sub_workers=2) as host:
    h = host.register_sub(scale)      # after the start: shipped; before: inherited
    x, y = host.tensor(np.arange(4, dtype=np.float32)), host.tensor((4,), np.float32)
    host.run(lambda orch: orch.submit(h, ec.Args().input(x).output(y).scalar(3.0)))
    print(y.array())                  # [0. 3. 6. 9.]
"""

PROGRAM = IMPORTS + SCALE + USE
PRINTED = "[0. 3. 6. 9.]\n"


def inside(head: str, body: str) -> str:
    """`body` as the block of the line `head`."""
    return head + "\n" + textwrap.indent(body, "    ")


def python(*arguments: str, stdin: str = "", cwd: Any = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def expect_printed(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, PRINTED, "")


def run_script(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    script = folder / "program.py"
    script.write_text(source)
    return python(str(script))


def test_with_its_function_registered_before_the_start(tmp_path: Path) -> None:
    early = "host = ec.Worker(level=3, sub_workers=2)\nh = host.register_sub(scale)\n"
    lines = USE.strip().splitlines()
    source = IMPORTS + SCALE + early + "\n".join(["with host:", *lines[2:]]) + "\n"
    expect_printed(run_script(tmp_path, source))


def test_as_a_script(tmp_path: Path) -> None:
    expect_printed(run_script(tmp_path, PROGRAM))


def test_by_python_c() -> None:
    expect_printed(python("-c", PROGRAM))


def test_by_stdin() -> None:
    expect_printed(python("-", stdin=PROGRAM))


def test_under_if_name_is_main(tmp_path: Path) -> None:
    main = inside('if __name__ == "__main__":', USE)
    expect_printed(run_script(tmp_path, IMPORTS + SCALE + main))


def test_from_another_thread_than_the_main_one(tmp_path: Path) -> None:
    start = "import threading\nthread = threading.Thread(target=main)\nthread.start()\n"
    source = IMPORTS + SCALE + inside("def main():", USE) + start + "thread.join()\n"
    expect_printed(run_script(tmp_path, source))


def test_with_everything_inside_a_function(tmp_path: Path) -> None:
    source = IMPORTS + inside("def main():", SCALE + USE) + "main()\n"
    expect_printed(run_script(tmp_path, source))


def test_as_a_module(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    expect_printed(python("-m", "program", cwd=tmp_path))


@pytest.mark.parametrize("where", ["beside the test", "in the test"])
def test_in_a_pytest_test(tmp_path: Path, where: str) -> None:
    file = tmp_path / "smallest_test.py"
    scale, inner = (SCALE, "") if where == "beside the test" else ("", SCALE)
    body = inner + USE + "assert y.array().tolist() == [0, 3, 6, 9]\n"
    file.write_text(IMPORTS + scale + inside("def test_scale():", body))
    done = python("-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


class Kernel:
    """A Jupyter kernel, and what the cells that it is given print."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def run_cell(self, source: str) -> str:
        printed: list[str] = []
        errors: list[str] = []

        def note(message: Any) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                printed.append(content["text"])
            elif message["msg_type"] == "execute_result":
                printed.append(content["data"]["text/plain"] + "\n")
            elif message["msg_type"] == "error":
                errors.append("\n".join(content["traceback"]))

        self.client.execute_interactive(source, timeout=60, output_hook=note)
        assert not errors, errors[0]
        return "".join(printed)


@pytest.fixture()
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client.manager")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    started, client = manager.start_new_kernel(kernel_name="python3", startup_timeout=60)
    yield Kernel(client)
    client.stop_channels()
    started.shutdown_kernel(now=True)


def test_in_a_jupyter_cell(kernel: Kernel) -> None:
    assert kernel.run_cell(PROGRAM) == PRINTED


def test_in_jupyter_cells_that_go_on_with_one_worker(kernel: Kernel) -> None:
    kernel.run_cell(IMPORTS + "host = ec.Worker(level=3, sub_workers=1)\nhost.start()")
    kernel.run_cell("h = host.register_sub(lambda task: task.scalars[0] + 1)")
    add = "host.run(lambda orch: orch.submit(h, ec.Args().scalar(41)).result())"
    assert kernel.run_cell(add) == "42\n"
    kernel.run_cell("host.close()")


def test_a_run_is_awaited_in_a_jupyter_cell(kernel: Kernel) -> None:
    kernel.run_cell(IMPORTS + "host = ec.Worker(level=3, sub_workers=1)\nhost.start()")
    kernel.run_cell("h = host.register_sub(lambda task: 'awaited')")
    assert kernel.run_cell("await host.submit(lambda orch: orch.submit(h).result())") == (
        "'awaited'\n"
    )
    kernel.run_cell("host.close()")


def test_a_cells_lines_are_in_a_childs_traceback(kernel: Kernel) -> None:
    kernel.run_cell(IMPORTS + "host = ec.Worker(level=3, sub_workers=1)\nhost.start()")
    kernel.run_cell("def fail(task):\n    return 1 / 0  # in a cell\nh = host.register_sub(fail)")
    look = """
try:
    host.run(lambda orch: orch.submit(h).result())
except ec.TaskFailed as error:
    print(error.remote_traceback)
"""
    assert "return 1 / 0  # in a cell" in kernel.run_cell(look)
    kernel.run_cell("host.close()")
