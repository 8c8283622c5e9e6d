#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists the public C++ names without documentation, from Doxygen's XML.

    undocumented.py FOLDER

Doxygen itself is silent about namespaces, the values of an enum and some declarations. Classes that
are friends, and functions that are deleted, say it all by being there. Prints file:line and the
name; exit code 1 if there is any.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree
from pathlib import Path

PUBLIC = ("public", "")
NAMED_KINDS = ("class", "struct", "union", "namespace")
FRIEND_CLASS = re.compile(r"^friend (?:class|struct) ")


def is_documented(element):
    parts = (element.find("briefdescription"), element.find("detaileddescription"))
    return any(part is not None and "".join(part.itertext()).strip() for part in parts)


def place_of(element):
    location = element.find("location")
    return "" if location is None else f"{location.get('file')}:{location.get('line')}: "


def speaks_for_itself(member):
    deleted = (member.findtext("argsstring") or "").replace(" ", "").endswith("=delete")
    return deleted or FRIEND_CLASS.match(member.findtext("definition") or "") is not None


def names_in(compound):
    """Its own name, its public members', those of enums' values: (what has the words, line)."""
    owner = compound.findtext("compoundname")
    if compound.get("kind") in NAMED_KINDS:
        yield compound, place_of(compound) + owner
    for member in compound.iter("memberdef"):
        if member.get("prot", "") not in PUBLIC or speaks_for_itself(member):
            continue
        name = f"{place_of(member)}{owner}: {member.findtext('name') or 'enum'}"
        yield member, name + (member.findtext("argsstring") or "")
        for value in member.findall("enumvalue"):
            yield value, f"{name}::{value.findtext('name')}"


def findings_in(tree):
    for compound in tree.iter("compounddef"):
        generated = place_of(compound).startswith("[generated]")  # std, which Doxygen brings along
        if generated or compound.get("prot", "public") not in PUBLIC:
            continue
        for element, line in names_in(compound):
            if not is_documented(element):
                yield line


def main():
    files = sorted(Path(sys.argv[1]).glob("*.xml"))
    if not files:
        sys.exit(f"undocumented: no XML in {sys.argv[1]}; Doxygen writes it there")
    found = {
        finding
        for file in files
        if file.name != "index.xml"
        for finding in findings_in(xml.etree.ElementTree.parse(file))
    }
    for finding in sorted(found):
        print(f"{finding} is not documented")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
