# SPDX-License-Identifier: Apache-2.0
"""``python -m echelon``."""

from __future__ import annotations

import json
import subprocess
import sys

import echelon as ec


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "echelon", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_it_is_the_program_of_the_same_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert ec.__version__ in done.stdout


def test_other_benchmarks_are_the_programs_own() -> None:
    done = run("bench", "floor", "--quick", "--json")
    assert json.loads(done.stdout)["floor_ns_p50"] > 0
