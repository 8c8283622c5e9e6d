# SPDX-License-Identifier: Apache-2.0
"""Headers of files, and what should not have stayed behind."""

from __future__ import annotations

import re

TODO_KINDS = ("bug", "cost", "docs", "feature", "port", "test")
SPDX = "SPDX-License-Identifier: Apache-2.0"
# Spelled in parts, so that this file does not find itself.
MACHINE_PATH = re.compile(
    r"(?<![\w.$}])/" + r"(work/(main|shared)|tmp/(bash_jobs|b-|brief|chroot))"
)

_CODE_LIKE = re.compile(
    r"^(?:\}|(?:if|for|while|switch)\s*\(.*|(?:return|else|auto|const|static|using)\b.*|std::.*"
    r"|#include.*|[A-Za-z_][\w:.>\[\]-]*(?:\(.*\)|\s*[-+|&]?=\s.*))\s*[;{}]$"
)


def spdx(file):
    head = file.lines[:2] if file.text.startswith("#!") else file.lines[:1]
    if not any(SPDX in line for line in head):
        yield file.finding(1, "spdx", "does not begin with its SPDX line", f"add: {SPDX}")


def pragma_once(file):
    if file.is_header and "#pragma once" not in file.code:
        yield file.finding(1, "pragma-once", "a header without #pragma once", "add it")


def whitespace(file):
    for number, line in enumerate(file.lines, 1):
        if line != line.rstrip():
            yield file.finding(number, "whitespace", "trailing white space", "remove it")
        if "\t" in line:
            yield file.finding(number, "whitespace", "a tab", "spaces")
    if file.text and not file.text.endswith("\n"):
        yield file.finding(len(file.lines), "whitespace", "no newline at the end", "add it")


def machine_paths(file):
    for number, line in enumerate(file.lines, 1):
        found = MACHINE_PATH.search(line)
        if found:
            yield file.finding(
                number, "machine-path", f"'{found[0]}'", "a path relative to the repository"
            )


def todos(file):
    comments = file.comment_lines if file.is_cpp else file.lines
    for number, line in enumerate(comments, 1):
        for found in re.finditer(r"\b(TODO|FIXME|XXX|HACK)\b(?:\((\w*)\))?", line):
            if found[1] == "TODO" and found[2] in TODO_KINDS:
                continue
            if not file.is_cpp and not re.search(r"#.*\b" + found[1], line):
                continue
            yield file.finding(
                number, "todo", f"'{found[0]}'", f"TODO(kind): with one of {', '.join(TODO_KINDS)}"
            )


def commented_out(file):
    """A comment that is code. Examples, indented by two columns and more, pass."""
    if not file.is_cpp:
        return
    for number, line in enumerate(file.comment_lines, 1):
        found = re.match(r"^\s*//\s?(\S.*?)\s*$", line)
        if found and _CODE_LIKE.match(found[1]):
            yield file.finding(
                number, "dead-code", f"'{found[1]}' is commented out", "delete it; git remembers"
            )


RULES = [spdx, pragma_once, whitespace, todos, commented_out]
TEXT_RULES = [machine_paths]
