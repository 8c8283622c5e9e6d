# SPDX-License-Identifier: Apache-2.0
"""Which modules an import path, or a pickle that comes from elsewhere, may name in this process.

In a tree of one machine everything may be named: the program trusts itself. In a session the daemon
says it, once, before the first callable comes; the processes that are forked from it inherit it.
"""

from __future__ import annotations

import builtins
import importlib
import io
import pickle
import sys
import types
from collections.abc import Iterable
from typing import Any

import cloudpickle

#: None: any module. Otherwise these, and what is below them.
_allowed: frozenset[str] | None = None

_CLOUDPICKLE = cloudpickle.Pickler.__module__
#: What the pickle of any function or class of a script names, to be made again: it makes code, and
#: imports nothing. What imports, or reaches into what there is, is checked below.
_MAKERS = {
    _CLOUDPICKLE: {
        "_builtin_type",
        "_class_setstate",
        "_function_setstate",
        "_get_cell_contents",
        "_get_dataclass_field_type_sentinel",
        "_make_cell",
        "_make_dict_items",
        "_make_dict_keys",
        "_make_dict_values",
        "_make_empty_cell",
        "_make_function",
        "_make_skeleton_class",
        "_make_skeleton_enum",
        "_make_typevar",
        "dynamic_subimport",
    },
    "copyreg": {"__newobj__", "__newobj_ex__", "_reconstructor"},
    "echelon._src._core": {"ChipHandle", "OrchHandle", "SubHandle"},
    "echelon._src.sources": {"with_sources"},
}


class ModuleRefused(pickle.UnpicklingError):
    """A module that is not on the daemon's list; says which, and what would allow it."""

    __module__ = "echelon"


def allow(names: Iterable[str] | None) -> None:
    """From now on these alone, with all below them. None: any."""
    global _allowed
    _allowed = None if names is None else frozenset(names)


def check(module: str) -> None:
    """Raises ModuleRefused where `module` may not be named."""
    if _allowed is None or module == "echelon":
        return
    parts = module.split(".")
    if any(".".join(parts[: end + 1]) in _allowed for end in range(len(parts))):
        return
    listed = ", ".join(sorted(_allowed)) or "none"
    raise ModuleRefused(
        f"module {module} is not one that this daemon allows ({listed}); start it with "
        f"--modules {module} where its parents may use that"
    )


def loads(pickled: Any) -> Any:
    """What was pickled. Raises ModuleRefused, and what unpickling raises."""
    return pickle.loads(pickled) if _allowed is None else _Unpickler(io.BytesIO(pickled)).load()


def _checked_import(name: str) -> types.ModuleType:
    check(name)
    return importlib.import_module(name)


def _checked_getattr(thing: Any, name: str) -> Any:
    """For methods, which are pickled as an object and a name."""
    if name.startswith("__") and not isinstance(thing, type):
        raise ModuleRefused(
            f"{name} of {type(thing).__name__} is not what a pickle may ask for here"
        )
    found = getattr(thing, name)
    for each in (thing, found):
        if isinstance(each, types.ModuleType):
            check(each.__name__)
    return found


_CHECKED = {
    (_CLOUDPICKLE, "subimport"): _checked_import,
    ("builtins", "getattr"): _checked_getattr,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        checked = _CHECKED.get((module, name))
        if checked is not None:
            return checked
        if name not in _MAKERS.get(module, ()) and not _is_builtin_type(module, name):
            check(module)
        found = super().find_class(module, name)
        # "a:b" may be a module that `a` has imported, and "a:b.c" go through one.
        on_the_way = sys.modules.get(module)
        for part in name.split("."):
            on_the_way = getattr(on_the_way, part, None)
            if isinstance(on_the_way, types.ModuleType):
                check(on_the_way.__name__)
        return found


def _is_builtin_type(module: str, name: str) -> bool:
    """Of builtins the types, and nothing that reads, imports or evaluates."""
    return module == "builtins" and (
        isinstance(getattr(builtins, name, None), type) or name in ("Ellipsis", "NotImplemented")
    )
