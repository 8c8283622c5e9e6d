# SPDX-License-Identifier: Apache-2.0
"""A source file as the rules see it: its text, its code alone, its comments alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

CPP_SUFFIXES = (".h", ".cc", ".c", ".cpp", ".hpp")
TEST_NAME = re.compile(
    r"(_test|_fuzz|_for_test|_conformance|_rig)\.(cc|h)$|(^|/)test_\w+\.(cc|h)$"
    r"|(^|/)(tests|testing|fuzz)/"
)

_TOKEN = re.compile(
    r"""(?P<line_comment>//[^\n]*(?:\\\n[^\n]*)*)
      | (?P<block_comment>/\*.*?\*/)
      | (?P<raw>\bu?8?L?R"(?P<delimiter>[^()\s\\]{0,16})\(.*?\)(?P=delimiter)")
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<char>(?<![0-9A-Za-z_])'(?:[^'\\\n]|\\.)+')
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    what: str
    mend: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.what}\n    mend: {self.mend}"


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


class File:
    """One file. `path` is relative to the root, with forward slashes; lines count from 1."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.splitlines()

    @property
    def name(self):
        return self.path.rsplit("/", 1)[-1]

    @property
    def is_cpp(self):
        return self.path.endswith(CPP_SUFFIXES)

    @property
    def is_header(self):
        return self.path.endswith((".h", ".hpp"))

    @property
    def is_test(self):
        return bool(TEST_NAME.search(self.path))

    def under(self, *folders):
        return any(self.path.startswith(folder + "/") for folder in folders)

    @cached_property
    def _parts(self):
        """(code, comments): the text twice, same lines and columns, with the other part blanked."""
        code, comments, at = [], [], 0
        for token in _TOKEN.finditer(self.text):
            between = self.text[at : token.start()]
            code.append(between)
            comments.append(_blank(between))
            if token.lastgroup in ("line_comment", "block_comment"):
                code.append(_blank(token[0]))
                comments.append(token[0])
            else:
                code.append(self._empty_literal(token[0]))
                comments.append(_blank(token[0]))
            at = token.end()
        rest = self.text[at:]
        return "".join(code) + rest, "".join(comments) + _blank(rest)

    @staticmethod
    def _empty_literal(text):
        """The literal with its quotes but without its content, so that arguments still count."""
        quote = text[-1]
        return quote + re.sub(r"[^\n]", "_", text[1:-1]) + quote

    @property
    def code(self):
        return self._parts[0]

    @property
    def comments(self):
        return self._parts[1]

    @cached_property
    def code_lines(self):
        return self.code.splitlines()

    @cached_property
    def comment_lines(self):
        return self.comments.splitlines()

    def line_at(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def finding(self, line, rule, what, mend):
        return Finding(self.path, line, rule, what, mend)
