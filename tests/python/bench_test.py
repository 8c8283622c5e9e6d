# SPDX-License-Identifier: Apache-2.0
"""``python -m echelon bench``: every figure is there. How large they are is not tested."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import command_line

DISPATCH_KEYS = {
    "floor_ns_p50",
    "run_one_ns_p50",
    "run_one_ns_p99",
    "run_one_native_ns_p50",
    "task_slope_ns",
    "tasks_per_second",
    "single_vs_pool",
    "bulk_vs_pool",
    "single_vs_executor",
    "bulk_vs_executor",
    "large_arg_over_small",
}
REGISTER_KEYS = {"floor_ns_p50", "us_p50", "closure_10mib_over_parts"}
REMOTE_KEYS = {"import_ms_p50", "ready_python_ms_p50"}
KEYS = {"dispatch": DISPATCH_KEYS, "register": REGISTER_KEYS, "remote": REMOTE_KEYS}
PROGRAMS_OWN = {"floor", "dispatch", "engine", "idle", "startup", "death"}


def output_of(*arguments: str) -> str:
    done = command_line(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def check_report(name: str, report: dict[str, Any]) -> None:
    assert report["benchmark"] == f"python_{name}"
    assert report["quick"] is True
    for key in KEYS[name]:
        assert isinstance(report[key], (int, float)), key
        assert key == "task_slope_ns" or report[key] > 0, key
    for key, target in report["targets"].items():
        assert key in report
        assert isinstance(target["met"], bool)


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_report_has_every_key_and_names_the_machine(name: str) -> None:
    report = json.loads(output_of("bench", name, "--quick", "--json"))
    check_report(name, report)
    assert report["machine"]["processor"]


def test_the_text_has_targets_and_says_that_quick_figures_say_nothing() -> None:
    text = output_of("bench", "dispatch", "--quick")
    assert "<= 8.00 us" in text
    assert "multiprocessing.Pool(1)" in text
    assert "note: shortened by --quick" in text


def test_markdown_is_a_section_of_the_ledger() -> None:
    text = output_of("bench", "dispatch", "--quick", "--markdown")
    assert text.startswith("## python_dispatch\n")
    for key in DISPATCH_KEYS:
        assert f"`{key}`" in text


def test_all_is_the_programs_ledger_with_these_in_it() -> None:
    ledger = json.loads(output_of("bench", "all", "--quick", "--json"))
    assert ledger["complete"] is True
    assert ledger.keys() >= PROGRAMS_OWN
    for name in KEYS:
        check_report(name, ledger[f"python_{name}"])


def test_the_ledger_as_a_page_has_every_row_and_says_how_to_repeat_it() -> None:
    text = output_of("bench", "all", "--quick", "--markdown")
    assert text.startswith("<!-- SPDX-License-Identifier")
    assert "python -m echelon bench all --markdown" in text
    for name, keys in KEYS.items():
        assert f"\n## python_{name}\n" in text
        for key in keys:
            assert f"`{key}`" in text


def test_help_tells_what_python_adds() -> None:
    assert "register how a function" in output_of("bench", "--help")


@pytest.mark.parametrize(
    ("slip", "named"),
    [("--jsn", "--jsn"), ("--json --markdown", "not allowed with"), ("extra", "extra")],
)
def test_a_slip_is_refused_by_name(slip: str, named: str) -> None:
    done = command_line("bench", "dispatch", *slip.split())
    assert done.returncode == 2
    assert named in done.stderr
