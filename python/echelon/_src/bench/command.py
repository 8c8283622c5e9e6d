# SPDX-License-Identifier: Apache-2.0
"""``python -m echelon bench dispatch | register | remote | all``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from .._core import _machine_text, _Report
from .dispatch import bench_dispatch
from .register import bench_register
from .remote import bench_remote

FAILED = 1

#: How the program's ledger is repeated, and this one, which has more rows.
_REPEAT, _REPEAT_HERE = "`./dev echelon bench all", "`python -m echelon bench all"

BENCHES: dict[str, Callable[[bool], _Report]] = {
    "dispatch": bench_dispatch,
    "register": bench_register,
    "remote": bench_remote,
}


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m echelon bench",
        description="Measures what each step costs from Python, beside the machine's floor. Leave "
        "the machine alone meanwhile.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "name",
        choices=[*BENCHES, "all"],
        help="which one; all: the program's whole ledger with these after it",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on standard output")
    form.add_argument("--markdown", action="store_true", help="as docs/ledger.md holds it")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; the figures then say nothing"
    )
    return parser.parse_args(arguments)


def _print_one(report: _Report, options: argparse.Namespace) -> None:
    if options.json:
        print(report.json(with_machine=True))
    elif options.markdown:
        print(report.markdown(), end="")
    else:
        print(f"{_machine_text()}\n{report.text()}", end="")


def _take(name: str, quick: bool) -> tuple[_Report, bool]:
    """The report, and whether it could be taken: one that fails does not keep others from it."""
    try:
        return BENCHES[name](quick), True
    except Exception as error:
        report = _Report(f"python_{name}", "from Python", quick)
        report.note(f"not measured: {error}")
        return report, False


def _print_all(program: Path, options: argparse.Namespace) -> int:
    given = [f"--{flag}" for flag in ("json", "markdown", "quick") if getattr(options, flag)]
    ledger = subprocess.run(
        [str(program), "bench", "all", *given], stdout=subprocess.PIPE, text=True, check=False
    )
    if options.json and not ledger.stdout:
        return ledger.returncode
    taken = {f"python_{name}": _take(name, options.quick) for name in BENCHES}
    complete = ledger.returncode == 0 and all(well for _, well in taken.values())
    if options.json:
        whole = json.loads(ledger.stdout)
        whole.update({name: json.loads(report.json()) for name, (report, _) in taken.items()})
        whole["complete"] = complete
        print(json.dumps(whole, indent=2))
    else:
        print(ledger.stdout.replace(_REPEAT, _REPEAT_HERE, 1), end="")
        for report, _ in taken.values():
            print(f"\n{report.markdown() if options.markdown else report.text()}", end="")
    return 0 if complete else FAILED


def main(arguments: Sequence[str], program: Path) -> int:
    """Returns the exit code; 2 for a command line that is wrong. program: `echelon`."""
    options = _options(arguments)
    if options.name == "all":
        return _print_all(program, options)
    _print_one(BENCHES[options.name](options.quick), options)
    sys.stdout.flush()
    return 0
