#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that includes run one way, from cli down to base (the table below).

    tools/check_layers.py [ROOT]     default: this repository

Reads the include lines of src/, include/, examples/ and tests/ and prints, for each that is not
allowed, where it stands, what it is, why, and how to mend it. Exit code 1 if there is one.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

# The one table. A folder may include itself and what stands here for it, nothing else of ours.
# "public" is the whole of include/echelon/, "vocabulary" only the headers listed below it.
BELOW_SHM = {"base", "vocabulary"}
BELOW_ENGINE = BELOW_SHM | {"shm"}
BELOW_PROCESS = BELOW_ENGINE | {"engine", "observe"}
BELOW_CHIP = BELOW_PROCESS | {"process"}
BELOW_REMOTE = BELOW_CHIP | {"chip"}
BELOW_API = BELOW_REMOTE | {"remote", "public"}
BELOW_MAINS = BELOW_API | {"api"}
MAY_INCLUDE = {
    "include": {"public"},
    "src/base": {"vocabulary"},
    "src/shm": BELOW_SHM,
    "src/observe": BELOW_ENGINE,
    "src/engine": BELOW_ENGINE,
    "src/process": BELOW_PROCESS,
    "src/chip": BELOW_CHIP,
    "src/chip/drivers": {"base", "vocabulary"},  # each is a shared library behind the C ABI
    "src/remote": BELOW_REMOTE,
    "src/remote/grpc": BELOW_REMOTE | {"remote"},  # a shared object of its own
    "src/remote/ucx": BELOW_REMOTE | {"remote"},  # another
    "src/api": BELOW_API,
    "src/cli": BELOW_MAINS,
    "src/cli/grpc_floor": set(),  # a program of its own: what our lanes are measured against
    "src/daemon": BELOW_MAINS,
    "src/python": BELOW_MAINS | {"cli"},  # its benchmarks take the same floor
    "examples": {"public"},
    "tests": BELOW_MAINS | {"cli", "daemon", "chip/drivers"},
    "fuzz": BELOW_MAINS | {"remote/grpc"},
    "bench": BELOW_MAINS,
}
VOCABULARY = {
    "echelon/call_config.h",
    "echelon/callable_form.h",
    "echelon/chip_driver.h",
    "echelon/chip_kernel.h",
    "echelon/codes.h",
    "echelon/dtype.h",
    "echelon/error.h",
    "echelon/node_info.h",
}

# Headers of others, by what their name begins with, and the folders that may use them. What is not
# listed (the standard library, POSIX) may be used anywhere, but see FORBIDDEN.
THIRD_PARTY = {
    "gtest/": {"tests only"},
    "gmock/": {"tests only"},
    "spdlog/": {"src/base"},
    "openssl/": {"src/base", "src/remote", "src/remote/grpc", "src/remote/ucx", "examples"},
    "grpc/": {"src/remote/grpc"},
    "grpcpp/": {"src/remote/grpc", "src/cli/grpc_floor"},
    "ucp/": {"src/remote/ucx"},
    "ucs/": {"src/remote/ucx"},
    "ucm/": {"src/remote/ucx"},
    "google/": {"src/remote/grpc"},  # protobuf
    "echelon/v1/": {"src/remote/grpc", "src/cli/grpc_floor", "fuzz"},  # what protoc makes of proto/
    "CLI/": {"src/cli", "src/daemon", "examples"},
    "nlohmann/": {"src/cli", "src/daemon", "src/remote", "examples", "tests"},
    "nanobind/": {"src/python"},
    "zlib.h": {"src/cli", "examples"},
    "fmt/": set(MAY_INCLUDE) - {"include"},
}

# The engine does no I/O, has no clock of its own and no thread (architecture, section 5).
FORBIDDEN = {
    "src/engine": re.compile(
        r"(sys|linux|arpa|netinet)/|(unistd|fcntl|poll|pthread|signal|spawn|sched|time)\.h$|ctime$"
        r"|(thread|mutex|shared_mutex|condition_variable|future|random)$"
        r"|(fstream|iostream|filesystem)$"
    ),
}

# Not public headers of ours, although they lie beside them: generated (proto/).
GENERATED = "echelon/v1/"

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
TEST_FILE = re.compile(
    r"(_test|_fuzz|_bench|_for_test|_conformance|_rig)\.(cc|h)$|(^|/)test_\w+\.(cc|h)$|/testing/"
)
SOURCES = {".h", ".cc", ".c"}


@dataclass(frozen=True)
class Include:
    """One include line: where it stands, the name as written, and whether in quotes."""

    file: str
    line: int
    name: str
    quoted: bool


@dataclass(frozen=True)
class Violation:
    include: Include
    what: str
    why: str
    mend: str

    def __str__(self):
        return (
            f"{self.include.file}:{self.include.line}: {self.what}\n"
            f"    why:  {self.why}\n    mend: {self.mend}"
        )


def is_public(name):
    return name.startswith("echelon/") and not name.startswith(GENERATED)


def folder_of(path):
    """The row of MAY_INCLUDE for a path relative to the root: the longest that fits, or None."""
    rows = [row for row in MAY_INCLUDE if path.startswith(row + "/")]
    return max(rows, key=len, default=None)


def read_includes(root):
    """Every include line under the folders of the table, in a stable order."""
    includes = []
    for top in ("include", "src", "examples", "tests", "fuzz", "bench"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in SOURCES or not path.is_file():
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, 1):
                found = INCLUDE.match(line)
                if found:
                    name = found[1] or found[2]
                    file = path.relative_to(root).as_posix()
                    includes.append(Include(file, number, name, found[1] is not None))
    return includes


def check_place(include, root):
    """A quoted include is spelled from src/ (examples and tests: or from theirs, or beside)."""
    if not include.quoted:
        return []
    if is_public(include.name):
        return [
            Violation(
                include,
                f'"{include.name}" is a public header in quotes',
                "in angle brackets our own code reads like a user's",
                f"#include <{include.name}>",
            )
        ]
    beside = (root / include.file).parent / include.name
    inside_src = include.file.startswith("src/")
    own_top = root / include.file.split("/")[0] / include.name
    if (root / "src" / include.name).is_file():
        return []
    if not inside_src and (beside.is_file() or own_top.is_file()):
        return []
    spelled = (
        beside.resolve().relative_to((root / "src").resolve()).as_posix()
        if inside_src and beside.is_file()
        else "folder/name.h"
    )
    return [
        Violation(
            include,
            f'"{include.name}" is not a path below src/',
            "one header has one spelling, so that its layer can be seen",
            f'#include "{spelled}"; headers of others stand in angle brackets',
        )
    ]


def check_direction(include, root):
    """The heart: may this folder include that one?"""
    here = folder_of(include.file)
    if here is None:
        return []
    allowed = MAY_INCLUDE[here]
    if is_public(include.name):
        vocabulary = "vocabulary" in allowed and include.name in VOCABULARY
        if "public" in allowed or vocabulary:
            return []
        return [
            Violation(
                include,
                f"{here} includes <{include.name}>, the public API",
                "below api only the vocabulary headers exist: " + ", ".join(sorted(VOCABULARY)),
                "use the type of your own layer; src/api translates",
            )
        ]
    if not include.quoted or not (root / "src" / include.name).is_file():
        return []
    there = folder_of("src/" + include.name)
    if there is None or there == here or there.removeprefix("src/") in allowed:
        return []
    names = ", ".join(sorted(allowed)) or "nothing else"
    return [
        Violation(
            include,
            f'{here} includes "{include.name}" of {there}',
            f"includes run one way; {here} may include: {names}",
            f"own an interface in {here} that {there} implements, or move the code down",
        )
    ]


def check_foreign(include):
    """Third-party and system headers that this folder may not use."""
    here = folder_of(include.file)
    if include.quoted or here is None or is_public(include.name):
        return []
    is_test = bool(TEST_FILE.search(include.file)) or here == "tests"
    for prefix, folders in THIRD_PARTY.items():
        if not include.name.startswith(prefix) or here in folders or is_test:
            continue
        return [
            Violation(
                include,
                f"{here} includes <{include.name}>",
                f"allowed in: {', '.join(sorted(folders))}",
                "wrap it once in the layer it belongs to, or extend THIRD_PARTY with a reason",
            )
        ]
    forbidden = FORBIDDEN.get(here)
    if forbidden and forbidden.match(include.name) and not is_test:
        return [
            Violation(
                include,
                f"{here} includes <{include.name}>",
                f"{here} does no I/O and has no clock, randomness or thread of its own",
                "take it from Env or from the endpoint interface",
            )
        ]
    return []


def check_cycles(includes, root):
    """Headers that include each other, directly or around a corner."""
    edges = {}
    for include in includes:
        target = f"src/{include.name}" if include.quoted else f"include/{include.name}"
        if (root / target).is_file() and include.file.endswith(".h"):
            edges.setdefault(include.file, []).append((target, include))
    violations, done = [], set()

    def visit(file, trail):
        for target, include in edges.get(file, []):
            if target in trail:
                ring = " -> ".join([*trail[trail.index(target) :], target])
                violations.append(
                    Violation(
                        include,
                        f"headers include each other: {ring}",
                        "none of them can be read or built alone",
                        "forward-declare in one, or move what both need into a third",
                    )
                )
            elif target not in done:
                visit(target, [*trail, target])
        done.add(file)

    for file in sorted(edges):
        if file not in done:
            visit(file, [file])
    return violations


def check(root):
    includes = read_includes(root)
    violations = []
    for include in includes:
        violations += check_place(include, root)
        violations += check_direction(include, root)
        violations += check_foreign(include)
    return includes, violations + check_cycles(includes, root)


def main(arguments):
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent).resolve()
    includes, violations = check(root)
    for violation in violations:
        print(violation)
    print(f"check_layers: {len(includes)} includes, {len(violations)} not allowed")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
