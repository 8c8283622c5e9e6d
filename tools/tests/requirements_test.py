# SPDX-License-Identifier: Apache-2.0
"""docs/requirements-tests.md has every requirement; the tests exist that it names, and those that
docs/guarantees.md and docs/security.md name, a row a fault and a row a protection."""

from __future__ import annotations

import ast
import functools
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "requirements-tests.md"
GUARANTEES = ROOT / "docs" / "guarantees.md"
SECURITY = ROOT / "docs" / "security.md"
FOLDERS = ("src", "tests", "tools", "examples", "fuzz")

# How many there are of each letter.
COUNTS = {"W": 10, "H": 6, "B": 8, "C": 9, "D": 13, "P": 6}

# Rows W, H and C hold from Python, too; these are of the layers below what a language sees.
CPP_ALONE = {"W1", "W2", "W8", "W10", "H6"}

CPP_TEST = re.compile(r"^TEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\)", re.MULTILINE)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NEGATIVE = re.compile(r"echelon_negative_compile_test\(([\w${}]+)")


def files(*suffixes):
    for folder in FOLDERS:
        for suffix in suffixes:
            yield from sorted((ROOT / folder).rglob("*" + suffix))


def cpp_tests():
    for file in files(".cc"):
        for suite, case in CPP_TEST.findall(file.read_text(encoding="utf-8")):
            yield f"{suite}.{case}"


def python_tests():
    """unittest's are class and method, pytest's are file and function."""
    for file in files(".py"):
        for top in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(top, ast.ClassDef):
                for inner in top.body:
                    if isinstance(inner, FUNCTIONS) and inner.name.startswith("test"):
                        yield f"{top.name}.{inner.name}"
            elif isinstance(top, FUNCTIONS) and top.name.startswith("test"):
                yield f"{file.stem}.{top.name}"


def package_tests():
    """Of the Python package."""
    folder = ROOT / "tests" / "python"
    stems = {file.stem for file in folder.glob("*_test.py")}
    return [name for name in python_tests() if name.split(".")[0] in stems]


def negative_patterns():
    """Names of tests that must not compile; a CMake variable in one stands for any word."""
    for file in files("CMakeLists.txt"):
        for name in NEGATIVE.findall(file.read_text(encoding="utf-8")):
            yield re.compile(r"negative_compile\." + re.sub(r"\$\{\w+\}", r"\\w+", name))


@functools.cache
def known_tests():
    return {*cpp_tests(), *python_tests()}


def missing(names):
    known = known_tests()
    patterns = list(negative_patterns())
    return [
        name
        for name in names
        if name not in known and not any(pattern.fullmatch(name) for pattern in patterns)
    ]


def rows():
    """(id, meaning, tests, not yet) of each."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"[A-Z]\d+", cells[0]):
            yield cells


def promises(page, width):
    """(what, tests) of each row of the page's tables with so many cells; the last has the tests."""
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == width and cells[-1] not in ("tests", "shown by", "---"):
            yield cells[0], re.findall(r"`([^`]+)`", cells[-1])


class PromisesTest(unittest.TestCase):
    def expect_shown(self, page, width, least):
        rows = list(promises(page, width))
        self.assertGreaterEqual(len(rows), least)
        for what, tests in rows:
            with self.subTest(what=what):
                self.assertTrue(tests)
                self.assertEqual(missing(tests), [])

    def test_every_fault_has_a_test_that_exists(self):
        self.expect_shown(GUARANTEES, width=6, least=40)

    def test_every_protection_has_a_test_that_exists(self):
        self.expect_shown(SECURITY, width=4, least=13)


class RequirementsTest(unittest.TestCase):
    def test_every_requirement_has_one_row_of_four_cells(self):
        expected = [f"{letter}{i + 1}" for letter, count in COUNTS.items() for i in range(count)]
        self.assertEqual([row[0] for row in rows()], expected)
        for row in rows():
            with self.subTest(id=row[0]):
                self.assertEqual(len(row), 4)

    def test_every_test_that_is_named_exists(self):
        for name, _, tests, _ in rows():
            with self.subTest(id=name):
                self.assertEqual(missing(re.findall(r"`([^`]+)`", tests)), [])

    def test_a_row_without_tests_says_what_is_not_there(self):
        for name, _, tests, not_yet in rows():
            with self.subTest(id=name):
                self.assertFalse(tests == "-" and not_yet == "-")

    def test_names_that_are_nobodys_are_found(self):
        names = ["Killed.TheRootTakesTheWholeTreeWithIt", "Killed.Nobody", "CliTest.test_nothing"]
        self.assertEqual(missing(names), names[1:])

    def test_a_test_of_the_python_package_is_known_by_its_file(self):
        names = ["programs_test.test_by_stdin", "programs_test.test_nothing", "test_by_stdin"]
        self.assertEqual(missing(names), names[1:])

    def test_every_row_of_workers_levels_and_callables_has_a_test_from_python(self):
        known = set(package_tests())
        for name, _, tests, _ in rows():
            if name[0] in "WHC" and name not in CPP_ALONE:
                with self.subTest(id=name):
                    self.assertTrue(known & set(re.findall(r"`([^`]+)`", tests)))

    def test_a_test_that_must_not_compile_is_known_by_its_pattern(self):
        names = ["negative_compile.SubHandle_for_OrchHandle", "negative_compile.other"]
        self.assertEqual(missing(names), names[1:])


if __name__ == "__main__":
    unittest.main()
