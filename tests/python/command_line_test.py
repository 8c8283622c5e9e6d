# SPDX-License-Identifier: Apache-2.0
"""``python -m echelon``."""

from __future__ import annotations

import json

from conftest import command_line

import echelon as ec


def test_it_is_the_program_of_the_same_version() -> None:
    done = command_line("--version")
    assert done.returncode == 0
    assert ec.__version__ in done.stdout


def test_other_benchmarks_are_the_programs_own() -> None:
    done = command_line("bench", "floor", "--quick", "--json")
    assert json.loads(done.stdout)["floor_ns_p50"] > 0
