#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows a header to Doxygen as its reader sees it; prints it, line for line.

    header_filter.py FILE

Doxygen knows only comments of its own forms. In Echelon's headers

- the comment at the top belongs to the file,
- a `// comment` behind a declaration belongs to that declaration, with the lines that go on below,
- `Threads:` and its like at the start of a comment's line begin a paragraph with that title,
- lines set in by three spaces after an empty one are code,
- what is protected is the library's own, like what is private.
"""

from __future__ import annotations

import re
import sys

LABELS = "Processes|Threads|Ownership|Blocking|Fork|Errors|Versions|REQUIRES"
LABEL = re.compile(rf"^(\s*/// ?)({LABELS}):(?: |$)")
TRAILING = re.compile(r"^(?P<code>\s*[^\s/].*?)(?P<gap>\s+)// (?P<text>\S.*)$")
CONTINUED = re.compile(r"^(?P<gap>\s+)// (?P<text>.*)$")
DOC = re.compile(r"^(?P<mark>\s*///)(?P<text>( .*)?)$")
NOT_DOCUMENTATION = re.compile(r"^\s*#|^}|NOLINT")
END_OF_TYPE = re.compile(r"^\s*};")


def own_comments(lines):
    """Each comment that documents something, in Doxygen's form."""
    at_top, column = True, 0
    for line in lines:
        if at_top and line.startswith("//"):
            yield "/// @file" if "SPDX" in line else "/" + line
            continue
        at_top = False
        behind = TRAILING.match(line)
        continued = CONTINUED.match(line)
        if behind and (END_OF_TYPE.match(line) or not NOT_DOCUMENTATION.search(line)):
            column = behind.start("text")
            yield f"{behind['code']}{behind['gap']}///< {behind['text']}"
        elif continued and column and continued.start("text") >= column:
            yield f"{continued['gap']}///< {continued['text']}"
        else:
            column = 0
            yield re.sub(r"^(\s*)protected:", r"\1private:", line)


def laid_out(lines):
    """Labels and code within documentation."""
    after_empty = in_code = False
    for line in lines:
        doc = DOC.match(line)
        if not doc:
            after_empty = in_code = False
            yield line
            continue
        text = doc["text"]
        in_code = text.startswith("   ") and (in_code or after_empty) or in_code and not text
        after_empty = not text
        yield f"{doc['mark']}    {text}" if in_code else LABEL.sub(r"\1@label{\2} ", line)


def filtered(lines):
    # Doxygen 1.9.4 takes the separators of a number for quotes.
    plain = (re.sub(r"(?<=\d)'(?=\d)", "", line) for line in lines)
    return laid_out(own_comments(plain))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in filtered(file.read().splitlines()):
            print(line)


if __name__ == "__main__":
    main()
