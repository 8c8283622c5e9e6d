#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the build, builds examples/hello against the copy alone, and runs it.

hello_test.py BUILD_FOLDER HELLO_SOURCE CMAKE COMPILER [unittest arguments]
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

build = source = cmake = compiler = ""


def run(*command):
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise AssertionError(f"{command[0]} failed:\n{result.stdout}\n{result.stderr}")
    return result.stdout


class HelloTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        run(cmake, "--install", build, "--prefix", self.folder / "installed")
        # A copy: nothing beside it can be included by accident.
        shutil.copytree(source, self.folder / "hello")

    def build_hello(self, prefix):
        run(
            cmake,
            *("-S", self.folder / "hello", "-B", self.folder / "build"),
            f"-DCMAKE_PREFIX_PATH={prefix}",
            f"-DCMAKE_CXX_COMPILER={compiler}",
        )
        run(cmake, "--build", self.folder / "build")
        return run(self.folder / "build" / "hello")

    def test_find_package_is_all_it_needs(self):
        said = self.build_hello(self.folder / "installed")
        self.assertIn("2 x 21 = 42", said)
        self.assertIn("sub1", said)

    def test_an_install_can_be_moved(self):
        moved = self.folder / "elsewhere"
        (self.folder / "installed").rename(moved)
        self.assertIn("2 x 21 = 42", self.build_hello(moved))
        digits = run(moved / "bin" / "echelon", "demo", "--epochs", "1", "--json")
        self.assertIn('"identical_to_one_chip": true', digits)


if __name__ == "__main__":
    build, source, cmake, compiler = sys.argv[1:5]
    del sys.argv[1:5]
    unittest.main()
