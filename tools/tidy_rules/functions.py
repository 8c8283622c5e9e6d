# SPDX-License-Identifier: Apache-2.0
"""Finds functions by matching braces. Not a parser: it is right for code formatted as ours is.

A block is a function's body if it stands in a namespace or class and what precedes it, back to the
last `;` or brace, holds a parameter list (before qualifiers, a return type, member initialisers).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TYPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b")
_NOT_A_FUNCTION = re.compile(
    r"^(static_assert|alignas|__attribute__|decltype|requires|[A-Z][A-Z0-9_]+)$"
)
_OPERATOR = re.compile(r"operator(\s*(?:\(\)|[^\s\w(]+))")
_ACCESS = re.compile(r"\b(public|private|protected)\s*:(?!:)")
_PREPROCESSOR = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE)


@dataclass(frozen=True)
class Function:
    """`body` is the number of lines from opening to closing brace; 0: a declaration."""

    name: str
    line: int
    parameters: int
    body: int


def functions_in(file):
    """Declarations and definitions at namespace and class level, in their order."""
    code = _PREPROCESSOR.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), file.code)
    return _Scanner(code).scan()


class _Scanner:
    def __init__(self, code):
        self.code = code
        self.found = []

    def scan(self):
        start = at = 0
        while at < len(self.code):
            char = self.code[at]
            if char == "(":
                at = self._closing(at)
            elif char == ";":
                self._add(start, at, 0)
                start = at + 1
            elif char == "}":
                start = at + 1
            elif char == "{":
                start, at = self._block(start, at)
            at += 1
        return self.found

    def _block(self, start, at):
        """Handles the block at `at`; returns where the next head starts and scanning goes on."""
        head = _ACCESS.sub("", self.code[start:at])
        call = _parameter_list(head)
        if _initialises_member(head, call):
            return start, self._closing(at)
        if call is None and _TYPE.search(head) and "=" not in head and not _is_enum(head):
            return at + 1, at
        end = self._closing(at)
        if call is not None:
            self._add(start, at, self._line(end) - self._line(at) + 1)
            return end + 1, end
        if _is_enum(head):
            return end + 1, end
        return start, end  # an initialiser: the declaration goes on to its semicolon

    def _add(self, start, end, body):
        head = _ACCESS.sub(lambda found: " " * len(found[0]), self.code[start:end])
        call = _parameter_list(head)
        if call is None or (body == 0 and _is_expression(head, call)):
            return
        name, name_at, parameters = call
        self.found.append(Function(name, self._line(start + name_at), parameters, body))

    def _closing(self, at):
        """The offset of the brace or parenthesis that closes the one at `at`."""
        opening = self.code[at]
        closing = {"(": ")", "{": "}"}[opening]
        depth = 0
        for index in range(at, len(self.code)):
            if self.code[index] == opening:
                depth += 1
            elif self.code[index] == closing:
                depth -= 1
                if depth == 0:
                    return index
        return len(self.code) - 1

    def _line(self, at):
        return self.code.count("\n", 0, at) + 1


def _is_enum(head):
    return re.search(r"\benum\b", head) is not None and "(" not in head


def _is_expression(head, call):
    """A variable's initialiser or a macro: no type stands before a function's name."""
    before = head[: call[1]].strip()
    return "=" in before or (before == "" and not call[0].startswith("~") and "::" not in call[0])


def _parameter_list(head):
    """(name, its offset, number of parameters) of the function that `head` declares, or None."""
    text = _OPERATOR.sub(lambda found: "operator" + "_" * len(found[1]), head)
    angle = at = 0
    while at < len(text):
        char = text[at]
        if char == "<":
            angle += 1
        elif char == ">" and text[at - 1] != "-":
            angle = max(0, angle - 1)
        elif char == "=" and angle == 0:
            return None
        elif char == "(":
            end = _matching(text, at)
            name = re.search(r"([~\w]+(?:::~?\w+)*)\s*$", text[:at])
            if angle == 0 and name and not _NOT_A_FUNCTION.match(name[1]):
                return name[1], name.start(1), _count(text[at + 1 : end])
            if angle == 0 and name and re.match(r"(TEST|TYPED_TEST)\w*$", name[1]):
                return name[1], name.start(1), 0
            at = end
        at += 1
    return None


def _matching(text, at):
    depth = 0
    for index in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return len(text) - 1


def _count(parameters):
    if parameters.strip() in ("", "void"):
        return 0
    depth = 0
    count = 1
    for char in parameters:
        if char in "(<{[":
            depth += 1
        elif char in ")>}]":
            depth -= 1
        elif char == "," and depth == 0:
            count += 1
    return count


def _initialises_member(head, call):
    """Is the brace behind `head` that of a member initialiser, as in `Foo() : a_{1}`?"""
    if call is None:
        return False
    rest = head[call[1] :]
    after = rest[_matching(rest, rest.index("(")) + 1 :]
    if not re.match(r"\s*(noexcept\s*)?:(?!:)", after):
        return False
    return re.search(r"[\w>]\s*$", after) is not None
