# SPDX-License-Identifier: Apache-2.0
"""Arguments of a wrong type: one line that names the argument, for every function there is."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import echelon as ec


@pytest.fixture()
def host() -> Iterator[ec.Worker]:
    with ec.Worker(level=3, sub_workers=1) as made:
        yield made


def set_to(thing: Any, name: str, value: Any) -> None:
    setattr(thing, name, value)


any_made: Any = ec  # mypy sees no wrong types in calls through it

WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: any_made.Worker(level="3"), TypeError, "Worker: level: an int was expected, not '3'"),
    (lambda: any_made.Worker(level=3.0), TypeError, "Worker: level: an int was expected, not 3.0"),
    (
        lambda: any_made.Worker(memory_bytes_max=-1),
        ValueError,
        "Worker: memory_bytes_max: an int of 0 or more was expected, not -1",
    ),
    (lambda: any_made.Worker(name=3), TypeError, "Worker: name: a str was expected, not 3"),
    (lambda: any_made.Worker().sub_worker(-1), ValueError, "i: an int of 0 or more was expected"),
    (lambda: any_made.Worker().sub_worker(), TypeError, "sub_worker: i is missing; it is "),
    (lambda: any_made.Worker().close(1), TypeError, "Worker.close: 1 is one argument too many"),
    (lambda: any_made.Worker.close(1), TypeError, "close: self: a Worker was expected, not 1"),
    (lambda: any_made.Worker(levels=3), TypeError, "Worker: it has no argument 'levels'; it is "),
    (lambda: any_made.Worker(3, level=3), TypeError, "Worker: level is given twice"),
    (
        lambda: any_made.CallConfig(grid=4),
        TypeError,
        "CallConfig: grid: a tuple of 3 ints was expected, not 4",
    ),
    (
        lambda: any_made.CallConfig(grid=(1, 2)),
        TypeError,
        r"grid: a tuple of 3 ints was expected, not \(1, 2\)",
    ),
    (
        lambda: any_made.CallConfig(grid=(1, "2", 3)),
        TypeError,
        r"grid\[1\]: an int was expected, not '2'",
    ),
    (
        lambda: any_made.CallConfig(values={"seed": 7}),
        TypeError,
        r"values\['seed'\]: a str was expected, not 7",
    ),
    (lambda: any_made.CallConfig(cores=1 << 40), ValueError, "cores: .* is more than it can hold"),
    (
        lambda: set_to(ec.CallConfig(), "cores", "all"),
        TypeError,
        "CallConfig.cores: value: an int was expected, not 'all'",
    ),
    (
        lambda: set_to(ec.CallConfig(), "grid", 4),
        TypeError,
        "CallConfig.grid: grid: a sequence of ints was expected, not 4",
    ),
    (lambda: any_made.ChipImage.from_source(1, "k"), TypeError, "source: a str was expected"),
]


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[each[2] for each in WRONG])
def test_an_argument_is_refused_by_name(
    call: Callable[[], Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_a_group_of_what_are_no_arguments_is_refused_by_place(host: ec.Worker) -> None:
    h: Any = host.register_sub(lambda task: None)
    with pytest.raises(TypeError, match=r"submit_group: args\[1\]: an Args was expected, not 1$"):
        host.run(lambda orch: orch.submit_group(h, [ec.Args(), 1]))  # type: ignore[list-item]
    with pytest.raises(TypeError, match="submit_group: args: a list of Args was expected, not 1$"):
        host.run(lambda orch: orch.submit_group(h, 1))  # type: ignore[arg-type]


def test_a_repr_that_raises_is_what_comes_out() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise KeyError("odd")

    with pytest.raises((TypeError, KeyError)):
        any_made.Worker(level=Odd())


def functions_of(thing: Any) -> Iterator[tuple[str, Any]]:
    """All of nanobind's, an attribute's setter too."""
    for name, member in vars(thing).items():
        for function in (member, getattr(member, "fset", None)):
            if hasattr(function, "__nb_signature__"):
                yield name, function


CLASSES = sorted(name for name in ec.__all__ if inspect.isclass(getattr(ec, name)))


class Odd:
    """Nothing that anybody expects."""


@pytest.mark.parametrize("name", CLASSES)
def test_no_function_of_a_class_answers_in_nanobinds_words(name: str) -> None:
    for member, function in functions_of(getattr(ec, name)):
        if member == "__await__":  # takes anything, and is not run
            continue
        for given in ((), (Odd(),), (Odd(), Odd()), (Odd(),) * 20):
            try:
                function(*given)
            except (TypeError, ValueError) as error:
                assert "incompatible function arguments" not in str(error), member
                assert "\n" not in str(error), member


def test_every_signature_is_one_that_can_be_explained() -> None:
    for name in CLASSES:
        for member, function in functions_of(getattr(ec, name)):
            for signature, *_ in function.__nb_signature__:
                text = re.sub(r"\\\d+", "...", signature).replace("def (", "def set(")
                assert ast.parse(text + ": ..."), (name, member)
