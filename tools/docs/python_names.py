#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists the public names of a Python package that have no docstring.

    python_names.py PACKAGE

For `./dev docs`, which shows it the stubs of an extension module in the module's place.

Public is what __all__ names, and of its classes every attribute without a leading underscore. What
a class takes over from a base is documented there. Prints the names; exit code 1 if there is any.
"""

from __future__ import annotations

import importlib
import inspect
import sys

CONSTANTS = (int, float, str, bytes, tuple, list, dict, set, frozenset, type(None), type(...))


def has_docstring(value):
    """True of constants, too: their docstring is their type's and says nothing of them."""
    return isinstance(value, CONSTANTS) or bool((inspect.getdoc(value) or "").strip())


def own_docstring(cls):
    """Not the one of a base, which inspect.getdoc would give."""
    return bool((cls.__dict__.get("__doc__") or "").strip())


def undocumented_in_class(name, cls):
    if not own_docstring(cls):
        yield name
    for attribute, value in vars(cls).items():
        if attribute.startswith("_") or has_docstring(value):
            continue
        yield f"{name}.{attribute}"


def undocumented(package):
    """Each public name of `package`, a module, that has no docstring."""
    if not (package.__doc__ or "").strip():
        yield package.__name__
    for public in package.__all__:
        value = getattr(package, public)
        name = f"{package.__name__}.{public}"
        if inspect.isclass(value):
            yield from undocumented_in_class(name, value)
        elif not has_docstring(value):
            yield name


def main():
    found = sorted(undocumented(importlib.import_module(sys.argv[1])))
    for name in found:
        print(f"{name} is not documented")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
