# SPDX-License-Identifier: Apache-2.0
"""Arguments of a wrong type, in one line: which it is, what was expected, what was given."""

from __future__ import annotations

import ast
import operator
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from . import _core

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 200

#: Whose values have to be of the very type, and what they are called.
_PLAIN: dict[str, tuple[type, str]] = {
    "str": (str, "a str"),
    "bool": (bool, "a bool"),
    "bytes": (bytes, "bytes"),
}
_SEQUENCES = {"list", "Sequence", "Iterable", "tuple"}
_MAPPINGS = {"dict", "Mapping"}


class _Parameter(NamedTuple):
    name: str
    annotation: ast.expr | None
    required: bool
    keyword_only: bool


class _Wrong(Exception):
    """error: what is to be raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def explain(function: Any, given: list[Any], named: dict[str, Any]) -> Exception:
    """Why nanobind's `function` refused these arguments."""
    call = _name_of(function, given)
    text = re.sub(r"\\\d+", "...", function.__nb_signature__[0][0])
    text = text.replace("def (", "def set(").replace("arg:", "value:")  # an attribute's
    definition = ast.parse(text + ": ...").body[0]
    assert isinstance(definition, ast.FunctionDef)
    parameters = _parameters(definition.args)
    shape = f"{call}{_shape(definition)}"
    try:
        arguments = _bind(parameters, given, named, call, shape)
        for parameter, value in arguments:
            if parameter.name == "self":
                _check_self(call, value)
            elif parameter.annotation is not None:
                _check(f"{call}: {parameter.name}", value, parameter.annotation)
    except _Wrong as wrong:
        return wrong.error
    return TypeError(f"{call}: these arguments do not fit; it is {shape}")


def _name_of(function: Any, given: list[Any]) -> str:
    """Worker, Worker.run, CallConfig.cores."""
    for name, member in vars(type(given[0])).items() if given else ():
        if getattr(member, "fset", None) is function:
            return f"{type(given[0]).__name__}.{name}"
    name = str(function.__qualname__)
    return name[: -len(".__init__")] if name.endswith(".__init__") else name


def _shape(definition: ast.FunctionDef) -> str:
    arguments = definition.args
    arguments.args = [each for each in arguments.args if each.arg != "self"]
    text = re.sub(r"\b(echelon\._src\._core|typing|collections\.abc)\.", "", ast.unparse(arguments))
    return f"({text})"


def _parameters(arguments: ast.arguments) -> list[_Parameter]:
    plain = [*arguments.posonlyargs, *arguments.args]
    optional_from = len(plain) - len(arguments.defaults)
    found = [
        _Parameter(each.arg, each.annotation, i < optional_from, False)
        for i, each in enumerate(plain)
    ]
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults):
        found.append(_Parameter(each.arg, each.annotation, default is None, True))
    return found


def _bind(
    parameters: list[_Parameter], given: list[Any], named: dict[str, Any], call: str, shape: str
) -> list[tuple[_Parameter, Any]]:
    """Which argument is whose. Raises _Wrong for what is missing, unknown, or too much."""
    places = [each for each in parameters if not each.keyword_only]
    if len(given) > len(places):
        surplus = _SHOWN.repr(given[len(places)])
        raise _Wrong(TypeError(f"{call}: {surplus} is one argument too many; it is {shape}"))
    bound = list(zip(places, given))
    taken = {parameter.name for parameter, _ in bound}
    by_name = {each.name: each for each in parameters}
    for name, value in named.items():
        if name not in by_name:
            raise _Wrong(TypeError(f"{call}: it has no argument {name!r}; it is {shape}"))
        if name in taken:
            raise _Wrong(TypeError(f"{call}: {name} is given twice; it is {shape}"))
        taken.add(name)
        bound.append((by_name[name], value))
    for each in parameters:
        if each.required and each.name not in taken:
            raise _Wrong(TypeError(f"{call}: {each.name} is missing; it is {shape}"))
    return bound


def _check_self(call: str, value: Any) -> None:
    owner = getattr(_core, call.partition(".")[0], object)
    if not isinstance(value, owner):
        raise _Wrong(_not(f"{call}: self", _article(owner.__name__), value))


def _not(where: str, expected: str, value: Any) -> TypeError:
    return TypeError(f"{where}: {expected} was expected, not {_SHOWN.repr(value)}")


def _check(where: str, value: Any, annotation: ast.expr) -> None:
    """Raises _Wrong where `value` is not what `annotation` says."""
    choices = _choices(annotation)
    if len(choices) > 1:
        if not any(_fits(value, choice) for choice in choices):
            raise _Wrong(_not(where, _words(annotation), value))
        return
    name = _name(annotation)
    if name == "int":
        _check_int(where, value)
    elif name in _PLAIN:
        if not isinstance(value, _PLAIN[name][0]):
            raise _Wrong(_not(where, _PLAIN[name][1], value))
        if isinstance(value, str) and value.encode("utf-8", "ignore").decode() != value:
            raise _Wrong(ValueError(f"{where}: {value!r} holds half of a surrogate pair"))
    elif name == "float":
        if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
            raise _Wrong(_not(where, "a number", value))
    elif name in _SEQUENCES:
        _check_sequence(where, value, annotation)
    elif name in _MAPPINGS:
        _check_mapping(where, value, annotation)
    elif name == "None":
        if value is not None:
            raise _Wrong(_not(where, "None", value))
    elif isinstance(getattr(_core, name, None), type) and not isinstance(
        value, getattr(_core, name)
    ):
        raise _Wrong(_not(where, _words(annotation), value))


def _check_int(where: str, value: Any) -> None:
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise _Wrong(_not(where, "an int", value))
    number = operator.index(value)
    if number < 0:
        raise _Wrong(ValueError(f"{where}: an int of 0 or more was expected, not {number}"))
    if number >= 1 << 31:
        raise _Wrong(ValueError(f"{where}: {number} is more than it can hold"))


def _check_sequence(where: str, value: Any, annotation: ast.expr) -> None:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, (Sequence, Iterable)):
        raise _Wrong(_not(where, _words(annotation), value))
    inner = _inner(annotation)
    of_length = _name(annotation) == "tuple"
    if of_length and (not isinstance(value, Sequence) or len(value) != len(inner)):
        raise _Wrong(_not(where, _words(annotation), value))
    if isinstance(value, Sequence) and inner:
        for i, each in enumerate(value):
            _check(f"{where}[{i}]", each, inner[i if of_length else 0])


def _check_mapping(where: str, value: Any, annotation: ast.expr) -> None:
    if not isinstance(value, Mapping):
        raise _Wrong(_not(where, _words(annotation), value))
    kinds = _inner(annotation)
    for key, each in value.items() if len(kinds) == 2 else ():
        _check(f"{where}: the key {key!r}", key, kinds[0])
        _check(f"{where}[{key!r}]", each, kinds[1])


def _fits(value: Any, annotation: ast.expr) -> bool:
    try:
        _check("", value, annotation)
    except _Wrong:
        return False
    return True


def _choices(annotation: ast.expr) -> list[ast.expr]:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _choices(annotation.left) + _choices(annotation.right)
    return [annotation]


def _name(annotation: ast.expr) -> str:
    """ "list" of `list[int]`, "Any" of `typing.Any`."""
    if isinstance(annotation, ast.Subscript):
        return _name(annotation.value)
    return ast.unparse(annotation).rpartition(".")[2]


def _inner(annotation: ast.expr) -> list[ast.expr]:
    if not isinstance(annotation, ast.Subscript):
        return []
    inner = annotation.slice
    return inner.elts if isinstance(inner, ast.Tuple) else [inner]


def _words(annotation: ast.expr) -> str:
    """An annotation, for people."""
    choices = _choices(annotation)
    if len(choices) > 1:
        return " or ".join(_words(choice) for choice in choices)
    name, inner = _name(annotation), _inner(annotation)
    if name in _PLAIN:
        return _PLAIN[name][1]
    if name == "tuple" and inner:
        return f"a tuple of {len(inner)} {_plural(inner[0])}"
    if name in _SEQUENCES and inner:
        return f"{_article(name.lower())} of {_plural(inner[0])}"
    if name in _MAPPINGS and len(inner) == 2:
        return f"a dict of {_name(inner[0])} to {_name(inner[1])}"
    return {"None": "None", "float": "a number"}.get(name) or _article(name)


def _plural(annotation: ast.expr) -> str:
    name = _name(annotation)
    return name if name.endswith("s") else name + "s"


def _article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
