# SPDX-License-Identifier: Apache-2.0
"""The programs in README.md and docs/ run, and print what the pages say.

A block that begins with ```python run is run; the ```text output after it is what it prints, where
"…" stands for what differs from run to run. Each is a program of its own, but those of the tutorial
are one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(python run|text output)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TUTORIAL = "tutorial-python.md"


def programs(page: Path) -> list[tuple[str, str]]:
    """Each with what it is to print."""
    found: list[tuple[str, str]] = []
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "python run":
            found.append((text, ""))
        elif found and not found[-1][1]:  # blocks of C++ print, too
            found[-1] = (found[-1][0], text)
    if page.name == TUTORIAL:
        return [("\n".join(p for p, _ in found), "".join(output for _, output in found))]
    return found


ALL = [
    pytest.param(program, output, id=f"{page.stem}-{i}")
    for page in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
    for i, (program, output) in enumerate(programs(page))
    if program
]


@pytest.mark.parametrize(("program", "output"), ALL)
def test_a_pages_program_prints_what_the_page_says(
    program: str, output: str, tmp_path: Path
) -> None:
    file = tmp_path / "program.py"
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = ".*".join(re.escape(part) for part in output.split("…"))
    assert re.fullmatch(expected, done.stdout), done.stdout
    assert done.stderr == ""


def test_the_tutorial_has_its_programs() -> None:
    assert (DOCS / TUTORIAL).read_text().count("```python run") > 10
