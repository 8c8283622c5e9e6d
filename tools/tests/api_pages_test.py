# SPDX-License-Identifier: Apache-2.0
"""What `./dev docs` adds to Doxygen and pdoc: the checks for public names, and the index."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import types
import unittest
import xml.etree.ElementTree
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

import index  # noqa: E402
import python_names  # noqa: E402
import undocumented  # noqa: E402

DOCUMENTED = "<briefdescription><para>Words.</para></briefdescription>"


def compound(members="", words=DOCUMENTED, kind="class"):
    return (
        f'<doxygen><compounddef kind="{kind}" prot="public"><compoundname>A</compoundname>{words}'
        f'<location file="a.h" line="1"/>{members}</compounddef></doxygen>'
    )


def member(name, words="", protection="public", inside="", definition="", arguments=""):
    return (
        f'<memberdef prot="{protection}"><definition>{definition}</definition>'
        f"<argsstring>{arguments}</argsstring><name>{name}</name>{words}{inside}"
        '<location file="a.h" line="7"/></memberdef>'
    )


def cpp_findings(text):
    return list(undocumented.findings_in(xml.etree.ElementTree.fromstring(text)))


class CppNamesTest(unittest.TestCase):
    def test_documented_names_pass(self):
        self.assertEqual(cpp_findings(compound(member("f", DOCUMENTED))), [])

    def test_a_member_without_words_is_found_where_it_stands(self):
        found = cpp_findings(compound(member("f", arguments="(int x)")))
        self.assertEqual(found, ["a.h:7: A: f(int x)"])

    def test_an_empty_description_is_none(self):
        empty = "<briefdescription>\n</briefdescription>"
        self.assertEqual(len(cpp_findings(compound(member("f", empty)))), 1)

    def test_a_longer_description_alone_is_enough(self):
        words = "<detaileddescription><para>Words.</para></detaileddescription>"
        self.assertEqual(cpp_findings(compound(member("f", words))), [])

    def test_a_class_and_a_namespace_need_words_themselves(self):
        for kind in ("class", "struct", "namespace"):
            with self.subTest(kind=kind):
                self.assertEqual(cpp_findings(compound(words="", kind=kind)), ["a.h:1: A"])

    def test_a_file_needs_none(self):
        self.assertEqual(cpp_findings(compound(words="", kind="file")), [])

    def test_the_values_of_an_enum_are_names(self):
        value = "<enumvalue><name>kOne</name></enumvalue>"
        found = cpp_findings(compound(member("E", DOCUMENTED, inside=value)))
        self.assertEqual(found, ["a.h:7: A: E::kOne"])

    def test_what_is_private_needs_none(self):
        self.assertEqual(cpp_findings(compound(member("f_", protection="private"))), [])

    def test_friends_and_deleted_functions_need_none(self):
        friend = member("B", definition="friend class B")
        deleted = member("A", arguments="()=delete")
        self.assertEqual(cpp_findings(compound(friend + deleted)), [])

    def test_the_folder_is_read_and_the_exit_code_tells(self):
        for members, expected in ((member("f"), 1), (member("f", DOCUMENTED), 0)):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "a.xml").write_text(compound(members), encoding="utf-8")
                with (
                    mock.patch.object(sys, "argv", ["undocumented.py", folder]),
                    contextlib.redirect_stdout(io.StringIO()) as said,
                ):
                    self.assertEqual(undocumented.main(), expected)
            self.assertEqual("a.h:7: A: f is not documented" in said.getvalue(), expected == 1)

    def test_a_folder_without_pages_is_an_error(self):
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(sys, "argv", ["undocumented.py", folder]),
            self.assertRaises(SystemExit) as ended,
        ):
            undocumented.main()
        self.assertIn("no XML", str(ended.exception))


def package(words="Words.", **names):
    made = types.ModuleType("made", words)
    made.__all__ = list(names)
    vars(made).update(names)
    return made


def python_findings(words="Words.", **names):
    return list(python_names.undocumented(package(words, **names)))


class PythonNamesTest(unittest.TestCase):
    def test_documented_names_pass(self):
        class Good:
            """Words."""

            def method(self):
                """Words."""

            @property
            def value(self):
                """Words."""

            def _hidden(self):
                pass

        self.assertEqual(python_findings(Good=Good, LIMIT=3), [])

    def test_the_package_itself_needs_words(self):
        self.assertEqual(python_findings(words=""), ["made"])

    def test_functions_classes_methods_and_properties_are_found(self):
        class Bad:
            def method(self):
                pass

            @property
            def value(self):
                return 1

        found = python_findings(Bad=Bad, function=lambda: None)
        self.assertEqual(found, ["made.Bad", "made.Bad.method", "made.Bad.value", "made.function"])

    def test_the_words_of_a_base_are_not_the_classs(self):
        class Base:
            """Words."""

        class Derived(Base):
            pass

        self.assertEqual(python_findings(Derived=Derived), ["made.Derived"])


class IndexTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.folder = self.root / "build" / "docs"
        (self.root / "docs" / "design").mkdir(parents=True)
        self.folder.mkdir(parents=True)
        (self.root / "README.md").write_text("# The project\n", encoding="utf-8")
        (self.root / "docs" / "a.md").write_text("<!-- x -->\n# A & B\n", encoding="utf-8")
        (self.root / "docs" / "design" / "0001-x.md").write_text("# One\n", encoding="utf-8")

    def test_pages_are_linked_by_their_titles(self):
        page = index.index(self.root, self.folder)
        self.assertIn('<a href="../../README.md">The project</a>', page)
        self.assertIn('<a href="../../docs/a.md">A &amp; B</a>', page)
        self.assertIn('<a href="../../docs/design/0001-x.md">One</a>', page)

    def test_only_the_api_pages_that_are_there_are_linked(self):
        (self.folder / "cpp").mkdir()
        (self.folder / "cpp" / "index.html").touch()
        page = index.index(self.root, self.folder)
        self.assertIn('<a href="cpp/index.html">C++</a>', page)
        self.assertNotIn("python/index.html", page)


if __name__ == "__main__":
    unittest.main()
