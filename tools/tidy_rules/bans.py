# SPDX-License-Identifier: Apache-2.0
"""What our code does not call, and the names it does not use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


def everywhere(file):
    return file.is_cpp


def outside_tests(file):
    return file.is_cpp and not file.is_test


def libraries(file):
    """Code that runs inside a user's program: it does not write to the user's streams."""
    return outside_tests(file) and file.under("src", "include") and not file.under("src/cli")


def callers_processes(file):
    """Libraries that do not run in a process of ours, whose standard error our spawner collects."""
    return libraries(file) and not file.under("src/process", "src/chip")


def engine(file):
    return outside_tests(file) and file.under("src/engine")


@dataclass(frozen=True)
class Ban:
    rule: str
    pattern: str
    applies: Callable
    mend: str


# A call: not a member (x.system()), not a longer name (my_system()).
def _call(names):
    return rf"(?<![\w.>])(?:std::|::)?(?:{names})\s*\("


BANS = [
    Ban(
        "sleep",
        r"\bsleep_(?:for|until)\b|"
        + _call("usleep|nanosleep")
        + r"|(?<![\w.>])(?:::sleep\s*\(|sleep\s*\(\d)",
        outside_tests,
        "wait for the event itself; a pause in a bench or example needs a waiver with its reason",
    ),
    Ban("shell", _call("system|popen"), everywhere, "posix_spawn with an argument list"),
    Ban(
        "unbounded",
        _call("strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca"),
        everywhere,
        "std::string, std::span or fmt",
    ),
    Ban("lenient-number", _call("atoi|atol|atof"), everywhere, "std::from_chars, which can fail"),
    Ban("assert", _call("assert"), everywhere, "ECHELON_CHECK, which stays on in a release"),
    Ban("detach", r"[.>]detach\(\s*\)", everywhere, "join it where it is owned"),
    Ban(
        "fence",
        r"\batomic_(?:thread|signal)_fence\b|\b__sync_\w+",
        everywhere,
        "sequentially consistent operations on the words that need them",
    ),
    Ban(
        "output",
        _call("printf|puts|putchar|vprintf")
        + r"|\bfprintf\s*\((?!\s*stderr)|\bstd::cout\b(?!\.flush)",
        libraries,
        "return a Status; standard output is the user's",
    ),
    Ban(
        "error-output",
        _call("perror") + r"|\bfprintf\s*\(\s*stderr|\bstd::(?:cerr|clog)\b(?!\.flush)",
        callers_processes,
        "return a Status; the user's standard error is the user's",
    ),
    Ban(
        "randomness",
        _call("rand|srand|random") + r"|\brandom_device\b",
        outside_tests,
        "take it from Env, so that a run can be repeated",
    ),
    Ban(
        "engine-clock",
        r"_clock::now\b|" + _call("clock_gettime|gettimeofday|time"),
        engine,
        "take it from Env",
    ),
    Ban(
        "engine-thread",
        r"\bstd::j?thread\b|\bpthread_create\b",
        engine,
        "the engine is a state machine; its driver has the thread",
    ),
    Ban(
        "raw-new",
        r"(?<!operator )\bnew\s+[\w:]|(?<!operator )(?<!= )\bdelete(?:\[\])?\s+[\w:*(]",
        outside_tests,
        "std::make_unique, or a unique_ptr on the same line",
    ),
    Ban(
        "friend",
        r"^\s*friend\b(?!.*(?:\boperator\b|\bdetail::|Test\w*;|Peer;))",
        everywhere,
        "a public method, or one class; a test or the facade's detail:: may be a friend",
    ),
    Ban(
        "singleton",
        r"\bstatic\s+[\w:<>]+\s*[&*]\s*(?:instance|get_instance|singleton)\s*\(",
        everywhere,
        "a main builds the part and hands it on",
    ),
    Ban(
        "using-namespace",
        r"^\s*using\s+namespace\s+(?!.*literals)",
        everywhere,
        "name what you use",
    ),
    Ban(
        "names",
        r"\b\w*(?:Manager|Helpers?|Utils?|Impl2)\b|\bnamespace\s+(?:utils?|helpers?)\b",
        everywhere,
        "say what it does: a name in the field's own words",
    ),
    Ban("dead-code", r"^\s*#\s*if\s+(?:0|false)\b", everywhere, "delete it; git remembers"),
    Ban("include-guard", r"^\s*#\s*ifndef\s+\w+_H_?\b", everywhere, "#pragma once"),
]
# A type before the name: a declaration (`Random random(seed);`), not a call.
_TYPE_BEFORE = re.compile(r"(\w+)[>&*]*\s+$")
_KEYWORDS = {"return", "else", "do", "co_return", "throw", "and", "or", "not"}
# The owner stands on this line or the one before.
_OWNED = re.compile(
    r"\b(?:unique|shared)_ptr<|\w+Ref\b[^;]*\(\s*new\b|\bstate_\(new\b|\bdelete this;"
)
_COMPILED = [(ban, re.compile(ban.pattern, re.MULTILINE)) for ban in BANS]


def bans(file):
    for ban, pattern in _COMPILED:
        if not ban.applies(file):
            continue
        for found in pattern.finditer(file.code):
            text = found[0].strip()
            line = file.line_at(found.start() + len(found[0]) - len(found[0].lstrip()))
            if _is_declaration(file.code, found) or _is_owned(ban, file, line):
                continue
            yield file.finding(line, ban.rule, f"'{text}'", ban.mend)


def _is_declaration(code, found):
    before = _TYPE_BEFORE.search(code[max(0, found.start() - 80) : found.start()])
    return found[0].endswith("(") and bool(before) and before[1] not in _KEYWORDS


def _is_owned(ban, file, line):
    lines = " ".join(file.code_lines[max(0, line - 2) : line])
    return ban.rule == "raw-new" and bool(_OWNED.search(lines))


def file_names(file):
    if re.search(r"(^|_)(utils?|helpers?|manager|misc|common)\.\w+$", file.name):
        yield file.finding(1, "names", f"a file called {file.name}", "name the concept it holds")


RULES = [bans, file_names]
