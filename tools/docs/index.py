#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes index.html beside the API pages: links to them, and to the pages of the repository.

index.py ROOT FOLDER
"""

from __future__ import annotations

import html
import os
import sys
from pathlib import Path

API = (("cpp/index.html", "C++"), ("python/index.html", "Python"))

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Echelon</title>
<style>
body {{ font: 16px/1.6 sans-serif; max-width: 44em; margin: 3em auto; padding: 0 1em; }}
li {{ margin: .2em 0; }}
</style>
<h1>Echelon</h1>
<p>One program over a tree of machines.</p>
<h2>API</h2>
{api}
<h2>Pages</h2>
{pages}
<h2>Design notes</h2>
{notes}
</html>
"""


def title_of(page):
    """Its first heading."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line[2:].strip()
    return page.name


def links(targets):
    """A list of (address, text)."""
    rows = (
        f'<li><a href="{html.escape(address)}">{html.escape(text)}</a></li>'
        for address, text in targets
    )
    return "<ul>\n" + "\n".join(rows) + "\n</ul>"


def pages(folder, files):
    return [(Path(os.path.relpath(file, folder)).as_posix(), title_of(file)) for file in files]


def index(root, folder):
    docs = root / "docs"
    api = [(address, text) for address, text in API if (folder / address).is_file()]
    top = [root / "README.md", *sorted(docs.glob("*.md"))]
    return PAGE.format(
        api=links(api),
        pages=links(pages(folder, top)),
        notes=links(pages(folder, sorted((docs / "design").glob("0*.md")))),
    )


def main():
    root, folder = (Path(argument).resolve() for argument in sys.argv[1:3])
    (folder / "index.html").write_text(index(root, folder), encoding="utf-8")


if __name__ == "__main__":
    main()
