# SPDX-License-Identifier: Apache-2.0
"""The command line: the program that comes with the package, and what only Python can measure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .native import NATIVE

#: Benchmarks with a part of Python's own.
BENCHES = {"dispatch", "register", "remote", "all"}


def program() -> Path:
    """The `echelon` program of this installation. Raises FileNotFoundError."""
    path = NATIVE / "bin" / "echelon"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: this installation of Echelon lacks its program")
    return path


def script() -> int:
    """The `echelon` command."""
    return main(sys.argv[1:])


def main(arguments: Sequence[str]) -> int:
    """Runs it. Returns the exit code; for most commands the program takes this one's place."""
    if list(arguments[:1]) == ["bench"]:
        if BENCHES.intersection(arguments[1:]):
            from .bench import command

            return command.main(arguments[1:], program())
        if list(arguments[1:]) in (["-h"], ["--help"]):
            return _help_bench(arguments)
    return _become_the_program(_with_python(arguments))


def _with_python(arguments: Sequence[str]) -> Sequence[str]:
    """A daemon that is started from Python runs sessions in this one, unless it is told."""
    given = any(text == "--python" or text.startswith("--python=") for text in arguments)
    if list(arguments[:1]) != ["daemon"] or given or not sys.executable:
        return arguments
    return ["daemon", "--python", sys.executable, *arguments[1:]]


def _become_the_program(arguments: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    path = str(program())
    os.execv(path, [path, *arguments])


def _help_bench(arguments: Sequence[str]) -> int:
    code = subprocess.run([str(program()), *arguments], check=False).returncode
    print(
        "\nWith `python -m echelon`, dispatch measures tasks of Python, register how a function\n"
        "of Python gets into a running tree, remote how a Worker in Python starts on another\n"
        "host, and all prints these after the others."
    )
    return code
