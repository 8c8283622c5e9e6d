# SPDX-License-Identifier: Apache-2.0
"""What the docstrings say, and that their examples run."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import echelon as ec

PUBLIC = sorted(set(ec.__all__) - {"__version__"})
PARSER = doctest.DocTestParser()

#: Nobody calls these: they are given, and their methods have the examples.
WITHOUT_EXAMPLE = {
    "ChipHandle",
    "ChipImage",  # its two makers have
    "ErrorInfo",
    "LibraryHandle",
    "NodeInfo",
    "OrchHandle",
    "Orchestrator",
    "Scope",
    "SubHandle",
    "TaskArgs",
    "TaskHandle",
    "WorkerId",
}


def callables() -> Iterator[str]:
    """Public functions, classes and methods: "keep_private", "Worker", "Worker.run"."""
    for name in PUBLIC:
        thing = getattr(ec, name)
        if name not in WITHOUT_EXAMPLE and not is_kind_of_error(thing):
            yield name
        if inspect.isclass(thing):
            members = [each for each in vars(thing) if not each.startswith("_")]
            yield from (f"{name}.{each}" for each in members if callable(getattr(thing, each)))


def is_kind_of_error(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, ec.Error) and thing is not ec.Error


def example_of(name: str, thing: Any, **known: Any) -> doctest.DocTest:
    known = {"ec": ec, "np": np, "Path": Path, **known}
    return PARSER.get_doctest(inspect.getdoc(thing) or "", known, name, "docstring", 0)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(ec, name))


@pytest.mark.parametrize("name", list(callables()))
def test_every_public_callable_has_an_example_that_runs(
    name: str, daemon_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    thing: Any = ec
    for part in name.split("."):
        thing = getattr(thing, part)
    with ec.Worker(level=3, sub_workers=2, chips=1) as host:
        example = example_of(name, thing, host=host, address=daemon_address)
        assert example.examples, f"{name} has no example in its docstring"
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed
        example.globs.clear()
    assert failed == 0, capsys.readouterr().out


def test_the_packages_own_example_runs() -> None:
    example = example_of("echelon", ec)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
