# SPDX-License-Identifier: Apache-2.0
"""Each atomic access that is not relaxed says which access it pairs with.

An access is a call with an explicit order, or one without (so: sequentially consistent) on a name
that the tree declares as std::atomic or std::atomic_ref. The words `pairs with` or `partner` must
stand in a comment on the statement's lines or directly above it. Tests are exempt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DECLARED = re.compile(r"\bstd::atomic(?:_ref|_flag)?\b\s*(?=[<\w&*\s({])")
_ALIAS = re.compile(r"\busing\s+(\w+)\s*=\s*std::atomic\b")
_AUTO_REF = re.compile(r"\bauto\s+(\w+)\s*=\s*std::atomic_ref\b")
_ACCESS = re.compile(
    r"(?P<receiver>[\w)\]]+)\s*(?:\.|->)\s*(?P<call>load|store|exchange"
    r"|fetch_(?:add|sub|or|and|xor)|compare_exchange_(?:weak|strong)|test_and_set|wait)\s*\("
)
_ORDER = re.compile(r"\bmemory_order(?:_|::)(\w+)")
_NAMED = re.compile(r"\bpairs?\s+with\b|\bpartners?\b", re.IGNORECASE)
MEND = "there or above: '// pairs with <where>: <what it publishes>', or memory_order_relaxed"


@dataclass(frozen=True)
class Atomics:
    """What the tree declares: names of atomic variables, members and functions that return one."""

    names: frozenset

    @staticmethod
    def collect(files):
        files = [file for file in files if file.is_cpp]
        aliases = {name for file in files for name in _ALIAS.findall(file.code)}
        names = set()
        for file in files:
            names |= declared_names(file.code, aliases)
        return Atomics(frozenset(names))


def declared_names(code, aliases):
    names = set(_AUTO_REF.findall(code))
    for found in _DECLARED.finditer(code):
        rest = _skip_template(code, found.end())
        name = re.match(r"[\s&*]*(?:const\s+)?((?:\w+::)*\w+)", rest)
        if name:
            names.add(name[1].rsplit("::", 1)[-1])
    for alias in aliases:
        names |= set(re.findall(rf"\b{alias}\b[\s&*]+(?:\w+::)*(\w+)", code))
    return names - {"const", "operator"}


def _skip_template(code, at):
    if at >= len(code) or code[at] != "<":
        return code[at : at + 200]
    depth = 0
    for index in range(at, min(len(code), at + 400)):
        depth += {"<": 1, ">": -1}.get(code[index], 0)
        if depth == 0:
            return code[index + 1 : index + 200]
    return ""


def check(file, atomics):
    if not file.is_cpp or file.is_test:
        return
    for found in _ACCESS.finditer(file.code):
        arguments = _arguments(file.code, found.end() - 1)
        orders = set(_ORDER.findall(arguments))
        if orders == {"relaxed"}:
            continue
        if not orders and not _is_atomic(file.code, found, atomics):
            continue
        first, last = file.line_at(found.start()), file.line_at(found.end() + len(arguments))
        if not _explained(file, first, last):
            order = ", ".join(sorted(orders)) or "seq_cst"
            yield file.finding(
                first, "atomic-partner", f"{found['call']} ({order}) names no partner", MEND
            )
    yield from _operators(file)


def _is_atomic(code, found, atomics):
    """Does a call without an order stand on something atomic?"""
    receiver = found["receiver"]
    if receiver[-1] not in ")]":
        return receiver in atomics.names
    opening = {")": "(", "]": "["}[receiver[-1]]
    depth = 0
    for index in range(found.end("receiver") - 1, -1, -1):
        depth += {receiver[-1]: 1, opening: -1}.get(code[index], 0)
        if depth == 0:
            before = code[max(0, index - 200) : index]
            if re.search(r"std::atomic_ref\s*(<[^;{}]*>)?\s*$", before):
                return True
            name = re.search(r"(\w+)\s*$", before)
            return bool(name) and name[1] in atomics.names
    return False


def _operators(file):
    """Operators on atomic members of this file: sequentially consistent, and nobody sees it."""
    names = [name for name in declared_names(file.code, set()) if name.endswith("_")]
    for name in names:
        pattern = rf"(?:\+\+|--)\s*\b{name}\b|\b{name}\s*(?:\+\+|--|[-+|&^]?=(?!=))"
        for found in re.finditer(pattern, file.code):
            yield file.finding(
                file.line_at(found.start()),
                "atomic-operator",
                f"'{found[0]}' on an atomic",
                "call store, load or fetch_add with the order it needs",
            )


def _arguments(code, at):
    """What stands between the parenthesis at `at` and its partner."""
    depth = 0
    for index in range(at, len(code)):
        depth += {"(": 1, ")": -1}.get(code[index], 0)
        if depth == 0:
            return code[at + 1 : index]
    return ""


def _explained(file, first, last):
    while first > 1 and _goes_on(file.code_lines[first - 2]):
        first -= 1
    if any(_NAMED.search(line) for line in file.comment_lines[first - 1 : last]):
        return True
    above = first - 2
    block = []
    while above >= 0 and not file.code_lines[above].strip() and file.comment_lines[above].strip():
        block.append(file.comment_lines[above])
        above -= 1
    return bool(_NAMED.search("\n".join(block)))


def _goes_on(line):
    """Does the statement of this line of code go on in the next one?"""
    line = line.strip()
    return bool(line) and not line.endswith((";", "{", "}", ":")) and not line.startswith("#")
