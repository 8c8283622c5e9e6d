# SPDX-License-Identifier: Apache-2.0
"""What the docstrings say."""

from __future__ import annotations

import doctest
import inspect
from typing import Any

import numpy as np
import pytest

import echelon as ec

PUBLIC = sorted(set(ec.__all__) - {"__version__"})
PARSER = doctest.DocTestParser()


def example_of(name: str, thing: Any) -> doctest.DocTest:
    return PARSER.get_doctest(
        inspect.getdoc(thing) or "", {"ec": ec, "np": np}, name, "docstring", 0
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(ec, name))


@pytest.mark.parametrize("name", ["Args", "CallConfig", "Run", "Task", "Tensor", "Worker"])
def test_the_examples_of_a_class_run(name: str) -> None:
    example = example_of(name, getattr(ec, name))
    assert example.examples
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed == 0


def test_the_packages_own_example_runs() -> None:
    example = example_of("echelon", ec)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
