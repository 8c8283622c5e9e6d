#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what a formatter does not: sizes, banned calls, atomics that name no partner, leftovers.

    tools/tidy.py [--root DIR] [--sizes] [FILE...]     default: every file of the repository

Prints file:line, the rule, what was found and how to mend it; exit code 1 if there is anything.
--sizes prints instead how the sizes are spread, to hold beside the style's "9 of 10 below".
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tidy_rules import atomics, bans, leftovers, sizes  # noqa: E402
from tidy_rules.functions import functions_in  # noqa: E402
from tidy_rules.source import CPP_SUFFIXES, File  # noqa: E402

CODE_SUFFIXES = (*CPP_SUFFIXES, ".py", ".sh", ".cmake", ".proto")
CODE_NAMES = ("dev", "run", "CMakeLists.txt", ".clang-tidy")
TEXT_SUFFIXES = (*CODE_SUFFIXES, ".md", ".txt", ".json", ".in", ".toml", ".yml")

# Where a rule does not hold: (rule, path pattern, reason). Keep it short.
WAIVERS = [
    ("*", "tools/tests/*", "the samples of what the rules find"),
    ("raw-new", "src/chip/drivers/*", "the C ABI hands out opaque pointers"),
]


def is_code(path):
    return path.endswith(CODE_SUFFIXES) or path.rsplit("/", 1)[-1] in CODE_NAMES


def is_text(path):
    return is_code(path) or path.endswith(TEXT_SUFFIXES)


def list_files(root):
    """What git tracks or would track; so nothing of a build folder."""
    command = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(path for path in set(listed.splitlines()) if (root / path).is_file())


def read_files(root, paths):
    for path in paths:
        if is_text(path):
            yield File(path, (root / path).read_text(encoding="utf-8", errors="replace"))


def check_file(file, known_atomics):
    for rule in leftovers.TEXT_RULES:
        yield from rule(file)
    if not is_code(file.path):
        return
    for rule in [*leftovers.RULES, *sizes.RULES, *bans.RULES]:
        yield from rule(file)
    yield from atomics.check(file, known_atomics)


def waived(finding):
    return any(
        fnmatch(finding.rule, rule) and fnmatch(finding.path, pattern)
        for rule, pattern, _ in WAIVERS
    )


def check(files):
    """Every finding in these files, in order."""
    files = list(files)
    known = atomics.Atomics.collect(files)
    findings = [finding for file in files for finding in check_file(file, known)]
    return sorted(
        (finding for finding in findings if not waived(finding)),
        key=lambda finding: (finding.path, finding.line, finding.rule),
    )


def print_sizes(files):
    spread = {}
    for file in files:
        if file.is_cpp:
            spread.setdefault(sizes.kind_of(file), []).append(len(file.lines))
            bodies = [function.body for function in functions_in(file) if function.body]
            spread.setdefault("function", []).extend(bodies)
    print(f"{'':10} {'count':>6} {'median':>7} {'9 of 10':>8} {'longest':>8}")
    for kind, values in sorted(spread.items()):
        values.sort()
        middle, ninth = values[len(values) // 2], values[len(values) * 9 // 10]
        print(f"{kind:10} {len(values):6} {middle:7} {ninth:8} {values[-1]:8}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--sizes", action="store_true", help="print how the sizes are spread")
    parser.add_argument("files", nargs="*", help="only findings in these")
    options = parser.parse_args()
    root = options.root.resolve()
    files = list(read_files(root, list_files(root)))
    if options.sizes:
        print_sizes(files)
        return 0
    wanted = {Path(file).resolve().relative_to(root).as_posix() for file in options.files}
    findings = [found for found in check(files) if not wanted or found.path in wanted]
    for finding in findings:
        print(finding)
    print(f"tidy: {len(files)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
