# SPDX-License-Identifier: Apache-2.0
"""tools/check_layers.py refuses each kind of include that is not allowed, and no other."""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import check_layers  # noqa: E402


class LayersTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def write(self, path, *includes):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"#include {name}\n" for name in includes), encoding="utf-8")

    def violations(self):
        return [str(violation) for violation in check_layers.check(self.root)[1]]

    def assert_refused(self, *words):
        violations = self.violations()
        self.assertEqual(1, len(violations), violations)
        for word in (*words, "why:", "mend:"):
            self.assertIn(word, violations[0])

    def test_downward_includes_pass(self):
        self.write("src/base/a.h", "<vector>", "<fmt/format.h>", "<echelon/codes.h>")
        self.write("src/shm/b.h", '"base/a.h"')
        self.write("src/api/c.cc", '"shm/b.h"', "<echelon/worker.h>")
        self.write("include/echelon/codes.h", "<string>")
        self.write("include/echelon/worker.h", "<echelon/codes.h>")
        self.write("examples/hello/main.cc", "<echelon/worker.h>")
        self.assertEqual([], self.violations())

    def test_upward_include(self):
        self.write("src/engine/e.h")
        self.write("src/shm/a.h", "<vector>", '"engine/e.h"')
        self.assert_refused("src/shm/a.h:2", "src/shm", "src/engine")

    def test_driver_sees_base_alone(self):
        self.write("src/chip/worker.h")
        self.write("src/chip/drivers/cpu/cpu.cc", '"chip/worker.h"')
        self.assert_refused("src/chip/drivers/cpu/cpu.cc:1")

    def test_chip_does_not_see_a_driver(self):
        self.write("src/chip/drivers/cpu/cpu.h")
        self.write("src/chip/worker.cc", '"chip/drivers/cpu/cpu.h"')
        self.assert_refused("src/chip/worker.cc:1")

    def test_public_api_below_the_api(self):
        self.write("src/process/a.cc", "<echelon/worker.h>")
        self.assert_refused("<echelon/worker.h>", "vocabulary")

    def test_public_header_with_an_internal_one(self):
        self.write("src/base/a.h")
        self.write("include/echelon/worker.h", '"base/a.h"')
        self.assert_refused("include/echelon/worker.h:1")

    def test_example_with_an_internal_header(self):
        self.write("src/base/a.h")
        self.write("examples/hello/main.cc", '"base/a.h"')
        self.assert_refused("examples/hello/main.cc:1")

    def test_include_by_another_spelling(self):
        self.write("src/base/a.h")
        self.write("src/base/b.h", '"a.h"')
        self.assert_refused('#include "base/a.h"')

    def test_tests_spell_from_their_own_folder_too(self):
        self.write("tests/tree/rig.h")
        self.write("tests/tree/a_test.cc", '"tree/rig.h"', '"rig.h"')
        self.assertEqual([], self.violations())

    def test_include_of_nothing(self):
        self.write("src/base/b.h", '"base/gone.h"')
        self.assert_refused("base/gone.h")

    def test_public_header_in_quotes(self):
        self.write("src/base/b.h", '"echelon/codes.h"')
        self.assert_refused("#include <echelon/codes.h>")

    def test_third_party_where_it_does_not_belong(self):
        self.write("src/engine/a.cc", "<nlohmann/json.hpp>")
        self.assert_refused("<nlohmann/json.hpp>", "src/cli")

    def test_googletest_belongs_to_tests(self):
        self.write("src/base/a_test.cc", "<gtest/gtest.h>")
        self.assertEqual([], self.violations())
        self.write("src/base/a.cc", "<gtest/gtest.h>")
        self.assert_refused("src/base/a.cc:1")

    def test_engine_has_no_system_headers(self):
        self.write("src/engine/a.cc", "<algorithm>", "<sys/mman.h>")
        self.assert_refused("src/engine/a.cc:2")

    def test_headers_that_include_each_other(self):
        self.write("src/base/a.h", '"base/b.h"')
        self.write("src/base/b.h", '"base/c.h"')
        self.write("src/base/c.h", '"base/a.h"')
        self.assert_refused("src/base/a.h -> src/base/b.h -> src/base/c.h -> src/base/a.h")


if __name__ == "__main__":
    unittest.main()
