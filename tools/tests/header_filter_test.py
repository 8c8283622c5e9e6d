# SPDX-License-Identifier: Apache-2.0
"""tools/docs/header_filter.py: what Doxygen is shown of a header."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

FILTER = Path(__file__).parent.parent / "docs" / "header_filter.py"
sys.path.insert(0, str(FILTER.parent))

import header_filter  # noqa: E402


def filtered(text):
    return "\n".join(header_filter.filtered(text.splitlines()))


class FilterTest(unittest.TestCase):
    def test_the_comment_at_the_top_is_the_files(self):
        top = "// SPDX-License-Identifier: Apache-2.0\n//\n// Args: a task's.\n#pragma once\n// No."
        self.assertEqual(filtered(top), "/// @file\n///\n/// Args: a task's.\n#pragma once\n// No.")

    def test_a_comment_behind_a_declaration_is_its_documentation(self):
        for code in ("int a = 0;", "kOne,", "kLast = 3", "}; ", "  std::string x = {};"):
            with self.subTest(code=code):
                self.assertEqual(
                    filtered(f"#pragma once\n{code}  // text"),
                    f"#pragma once\n{code}  ///< text",
                )

    def test_its_next_lines_go_on_with_it(self):
        text = "#pragma once\nint a;  // one\n        // two\n// three"
        self.assertEqual(
            filtered(text), "#pragma once\nint a;  ///< one\n        ///< two\n// three"
        )

    def test_a_comment_further_left_does_not_go_on(self):
        text = "#pragma once\nint a;  // one\n  // two"
        self.assertEqual(filtered(text), "#pragma once\nint a;  ///< one\n  // two")

    def test_what_a_line_closes_is_no_documentation(self):
        for line in ("}  // namespace detail", "#endif  // guard", "int a;  // NOLINT: reason"):
            with self.subTest(line=line):
                self.assertEqual(filtered("#pragma once\n" + line), "#pragma once\n" + line)

    def test_an_address_in_a_string_is_no_comment(self):
        line = 'const char* kHome = "https://example.org";'
        self.assertEqual(filtered(line), line)

    def test_the_separators_of_a_number_are_no_quotes(self):
        self.assertEqual(filtered("int a = 30'000;"), "int a = 30000;")

    def test_a_label_begins_a_paragraph_of_its_own(self):
        self.assertEqual(
            filtered("#pragma once\n  /// Threads: safe.\n  /// That Threads: are safe."),
            "#pragma once\n  /// @label{Threads} safe.\n  /// That Threads: are safe.",
        )

    def test_lines_set_in_after_an_empty_one_are_code(self):
        text = "#pragma once\n/// So:\n///\n///   one();\n///\n///   two();\n/// Then"
        self.assertEqual(
            filtered(text),
            "#pragma once\n/// So:\n///\n///       one();\n///    \n///       two();\n/// Then",
        )

    def test_lines_set_in_below_text_are_text(self):
        text = "#pragma once\n/// A label that goes on\n///   in the next line."
        self.assertEqual(filtered(text), text)

    def test_what_is_protected_is_hidden_like_what_is_private(self):
        self.assertEqual(filtered("class A {\n protected:\n};"), "class A {\n private:\n};")

    def test_the_number_of_lines_is_kept_in_every_public_header(self):
        headers = sorted((FILTER.parents[2] / "include" / "echelon").glob("*.h"))
        self.assertTrue(headers)
        for header in headers:
            lines = header.read_text(encoding="utf-8").splitlines()
            with self.subTest(header=header.name):
                self.assertEqual(len(list(header_filter.filtered(lines))), len(lines))

    def test_it_prints_what_the_file_becomes(self):
        with tempfile.TemporaryDirectory() as folder:
            header = Path(folder) / "a.h"
            header.write_text("#pragma once\nint a;  // one\n", encoding="utf-8")
            done = subprocess.run(
                [sys.executable, FILTER, header], capture_output=True, text=True, check=True
            )
        self.assertEqual(done.stdout, "#pragma once\nint a;  ///< one\n")


if __name__ == "__main__":
    unittest.main()
