#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs examples/remote against a daemon: what it says came by return value and by copy_from.

example_test.py PROGRAM EXAMPLE LIBRARY [unittest arguments]; PROGRAM is the built bin/echelon.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import unittest

PROGRAM = EXAMPLE = LIBRARY = ""
HANG_AFTER_SECONDS = 100  # a watchdog, not an expectation
LISTENING = "echelon daemon: serving at "


@contextlib.contextmanager
def daemon(*arguments):
    """The address of one."""
    command = [PROGRAM, "daemon", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            if not line.startswith(LISTENING):
                raise AssertionError(f"{command} said {line!r}")
            yield line.removeprefix(LISTENING).strip()
        finally:
            process.terminate()


def example(address):
    return subprocess.run(
        [EXAMPLE, LIBRARY, address],
        capture_output=True,
        text=True,
        timeout=HANG_AFTER_SECONDS,
        check=False,
    )


class ExampleTest(unittest.TestCase):
    def test_each_step_is_named_and_results_come_back_both_ways(self):
        with daemon("--allow", "library") as address:
            result = example(address)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(
            result.stdout.splitlines(),
            [
                f'pod0 submits "on the host" to {address}',
                'pod0/host0 submits "double" to its own sub-worker',
                "pod0/host0/sub0 runs it",
                "by return value: 20",
                "by copy_from: 2 4 6 8",
            ],
        )

    def test_one_daemon_serves_one_program_after_another(self):
        with daemon("--allow", "library") as address:
            results = [example(address) for _ in range(3)]
        self.assertEqual([result.returncode for result in results], [0, 0, 0])
        self.assertEqual(len({result.stdout for result in results}), 1)

    def test_a_daemon_that_allows_no_libraries_says_so(self):
        with daemon() as address:
            result = example(address)
        self.assertEqual(result.returncode, 1)
        self.assertIn("library", result.stderr)

    def test_nobody_at_the_address_is_an_error_that_names_it(self):
        with daemon("--allow", "library") as address:
            pass
        result = example(address)
        self.assertEqual(result.returncode, 1)
        self.assertIn(address, result.stderr)


if __name__ == "__main__":
    PROGRAM, EXAMPLE, LIBRARY = sys.argv[1:4]
    del sys.argv[1:4]
    unittest.main()
