#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what the documentation shows: README.md and docs/**/*.md.

docs_test.py SOURCE BUILD COMPILER [FLAGS...] -- [unittest arguments]

A fenced block says by the words after its language what it is:

  cpp             with a main(): a program. Without: a part of the page's one program, which is all
                  such blocks of the page in order, in one main().
  cpp file=F      written to F in the page's workspace; so for any language
  python run      left to tests/python/pages_test.py, as the package is needed
  sh run          run by bash in the workspace; `in=FOLDER` in a folder of it
  sh fails        the same, but it has to fail, and what it says on standard error is its output
  sh daemon       one command, a daemon: started, and waited for until it serves; it ends with the
                  page. Where a page has one, port 7171 is another in all of its blocks: a free one
  text output     what the block before it prints; an ellipsis stands for anything within a line

The workspace is an empty folder in which `build` is the build folder, as in a clone. Everything
else is for reading alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

SOURCE = BUILD = pathlib.Path()
COMPILER = ""
FLAGS = []
HANG_AFTER_SECONDS = 240  # a watchdog, not an expectation
DAEMON_PORT = 7171
SERVING = "echelon daemon: serving at "

PROGRAM_BEGIN = """\
#include <echelon/echelon.h>
#include <unistd.h>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>
using namespace std::chrono_literals;
int main() {
"""


@dataclasses.dataclass
class Block:
    page: str
    line: int  # of its first line of text
    language: str
    words: list
    text: str

    def value(self, key):
        """Of `key=value` among the words; None: not there."""
        return next((w.split("=", 1)[1] for w in self.words if w.startswith(key + "=")), None)

    @property
    def is_program(self):
        return self.language == "cpp" and re.search(r"\bint main\(", self.text) is not None

    @property
    def is_python(self):
        return self.language == "python" and "run" in self.words

    @property
    def is_daemon(self):
        return self.language == "sh" and "daemon" in self.words

    @property
    def is_part(self):
        return self.language == "cpp" and not self.is_program and not self.value("file")

    def with_lines(self):
        """The text with its place, for a compiler's messages."""
        return f'#line {self.line} "{self.page}"\n{self.text}'


def pages():
    files = [SOURCE / "README.md", *sorted((SOURCE / "docs").rglob("*.md"))]
    return [file.relative_to(SOURCE).as_posix() for file in files]


def blocks_of(page):
    blocks, block, fence = [], None, ""
    for number, line in enumerate((SOURCE / page).read_text(encoding="utf-8").splitlines(), 1):
        found = re.match(r"^(`{3,})(\S*)\s*(.*)$", line)
        if block is None and found:
            fence = found[1]
            block = Block(page, number + 1, found[2], found[3].split(), "")
        elif block is not None and line.rstrip() == fence:
            blocks.append(block)
            block = None
        elif block is not None:
            block.text += line + "\n"
    return blocks


def prose_of(page):
    """The page without its fenced blocks."""
    text = (SOURCE / page).read_text(encoding="utf-8")
    return re.sub(r"(?ms)^(`{3,}).*?^\1\s*$", "", text)


def environment_in(home):
    environment = {**os.environ, "HOME": str(home), "CXX": COMPILER}
    for name in ("CXXFLAGS", "LDFLAGS"):
        environment[name] = " ".join([environment.get(name, ""), *FLAGS]).strip()
    return environment


def run(arguments, folder, home):
    return subprocess.run(
        arguments,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_AFTER_SECONDS,
        check=False,
        env=environment_in(home),
    )


def bash(text):
    return ["bash", "-euo", "pipefail", "-c", text]


def free_port():
    """Free at every address of this machine, a moment ago."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return probe.getsockname()[1]


class PageRun:
    """One page in a workspace of its own."""

    def __init__(self, test, page, folder):
        self.test = test
        self.page = page
        self.blocks = blocks_of(page)
        self.folder = pathlib.Path(folder)
        self.programs = 0
        self.daemons = contextlib.ExitStack()
        (self.folder / "build").symlink_to(BUILD)
        if any(block.is_daemon for block in self.blocks):
            port = free_port()
            for block in self.blocks:
                block.text = block.text.replace(f":{DAEMON_PORT}", f":{port}")

    def run(self):
        with self.daemons:
            self.run_blocks()

    def run_blocks(self):
        parts = [block for block in self.blocks if block.is_part]
        part_output = None
        output = ""
        for block in self.blocks:
            if block.value("file"):
                file = self.folder / block.value("file")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, encoding="utf-8")
            elif block.is_program:
                output = self.run_program(block.with_lines())
            elif block.is_part:
                if part_output is None:
                    text = "".join("  " + part.with_lines().lstrip() for part in parts)
                    part_output = self.run_program(PROGRAM_BEGIN + text + "}\n")
                output = part_output
            elif block.is_python:
                output = None
            elif block.is_daemon:
                self.start_daemon(block)
            elif block.language == "sh" and "run" in block.words:
                output = self.run_shell(block)
            elif block.language == "sh" and "fails" in block.words:
                output = self.run_failing(block)
            elif block.language == "text" and "output" in block.words and output is not None:
                self.check_output(block, output)

    def run_program(self, text):
        self.programs += 1
        source = self.folder / f"program{self.programs}.cc"
        program = source.with_suffix("")
        source.write_text(text, encoding="utf-8")
        compile_it = [COMPILER, "-std=c++20", "-O0", "-Wall", "-Werror", *FLAGS, str(source)]
        compile_it += [f"-I{SOURCE}/include", f"-L{BUILD}/lib", "-lechelon"]
        self.ok([*compile_it, f"-Wl,-rpath,{BUILD}/lib", "-o", str(program)], self.folder)
        return self.ok([str(program)], self.folder)

    def run_shell(self, block):
        folder = self.folder / (block.value("in") or ".")
        return self.ok(bash(block.text), folder)

    def run_failing(self, block):
        done = run(bash(block.text), self.folder, self.folder)
        self.test.assertNotEqual(done.returncode, 0, f"{block.page}:{block.line}: {done.stdout}")
        return done.stderr

    def start_daemon(self, block):
        daemon = subprocess.Popen(
            bash("exec " + block.text),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment_in(self.folder),
        )
        self.daemons.callback(daemon.stdout.close)
        self.daemons.callback(daemon.wait, HANG_AFTER_SECONDS)
        self.daemons.callback(daemon.terminate)
        line = daemon.stdout.readline()
        self.test.assertTrue(line.startswith(SERVING), f"{block.page}:{block.line}: said {line!r}")

    def ok(self, arguments, folder):
        done = run(arguments, folder, self.folder)
        command = shlex.join(arguments)
        said = f"{self.page}: {command}\n{done.stdout}\n{done.stderr}"
        self.test.assertEqual(done.returncode, 0, said)
        return done.stdout

    def check_output(self, block, output):
        lines = [re.escape(line.rstrip()) for line in block.text.splitlines()]
        pattern = r"[ \t]*\n".join(line.replace("…", ".*") for line in lines)
        where = f"{self.page}:{block.line}: not in the output:\n{block.text}\nwhich is:\n{output}"
        self.test.assertRegex(output, re.compile(pattern), where)


class CodeTest(unittest.TestCase):
    def test_every_block_compiles_and_runs(self):
        for page in pages():
            blocks = blocks_of(page)
            if not any(b.language in ("cpp", "sh") for b in blocks):
                continue
            with self.subTest(page=page), tempfile.TemporaryDirectory() as folder:
                PageRun(self, page, folder).run()

    def test_there_is_code_in_the_pages_that_teach(self):
        for page in (
            "README.md",
            "docs/getting-started.md",
            "docs/concepts.md",
            "docs/remote.md",
        ):
            self.assertTrue([b for b in blocks_of(page) if b.language == "cpp"], page)


def slug(heading):
    """The anchor that a heading gets."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return text.replace(" ", "-")


def anchors_of(path):
    text = path.read_text(encoding="utf-8")
    return {slug(found[1]) for found in re.finditer(r"(?m)^#+\s+(.*)$", text)}


def expand(path):
    """a/b.{h,cc} -> a/b.h, a/b.cc"""
    found = re.search(r"\{([^}]*)\}", path)
    if not found:
        return [path]
    before, after = path[: found.start()], path[found.end() :]
    return [name for word in found[1].split(",") for name in expand(before + word + after)]


LOGGING = ("src/remote/daemon.cc", "src/remote/held_session.cc", "src/api/daemon_main.cc")


def log_lines(file):
    """What the daemon's log is given in this file, as it is formatted."""
    text = re.sub(r'"\s*\n\s*"', "", file.read_text(encoding="utf-8"))
    return re.findall(r'\blog\(\s*(?:fmt::format\(\s*)?"([^"]+)"', text)


class LinkTest(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for page in pages():
            for found in re.finditer(r"\]\(([^)\s]+)\)", prose_of(page)):
                target, _, anchor = found[1].partition("#")
                if re.match(r"[a-z]+:", target):
                    continue
                with self.subTest(page=page, link=found[1]):
                    path = (SOURCE / page).parent / target if target else SOURCE / page
                    self.assertTrue(path.exists())
                    if anchor and path.suffix == ".md":
                        self.assertIn(anchor, anchors_of(path))

    def test_files_that_are_named_exist(self):
        folders = "src|include|docs|tools|examples|tests|cmake"
        for page in pages():
            for found in re.finditer(rf"`((?:{folders})/[\w./{{}},*-]+)`", prose_of(page)):
                for path in expand(found[1]):
                    with self.subTest(page=page, path=path):
                        self.assertTrue(list(SOURCE.glob(path.rstrip("/"))))

    def test_commands_of_the_script_exist(self):
        usage = subprocess.run(
            [SOURCE / "dev"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        known = set(re.findall(r"\./dev (\w+)", usage))
        for page in pages():
            text = (SOURCE / page).read_text(encoding="utf-8")
            for command in re.findall(r"\./dev ([a-z]+)", text):
                with self.subTest(page=page, command=command):
                    self.assertIn(command, known)

    def test_every_line_of_a_daemons_log_is_explained(self):
        page = (SOURCE / "docs/operations.md").read_text(encoding="utf-8")
        lines = [line for file in LOGGING for line in log_lines(SOURCE / file)]
        self.assertGreaterEqual(len(lines), 9, lines)
        for line in lines:
            # The words between what is put in.
            for words in re.findall(r"[A-Za-z][^{}]{3,}", re.sub(r"{[^}]*}", "{}", line)):
                with self.subTest(line=line):
                    self.assertIn(words.strip(" (),;:"), page)

    def test_pictures_can_be_drawn(self):
        pictures = sorted((SOURCE / "docs").rglob("*.svg"))
        self.assertTrue(pictures)
        for picture in pictures:
            with self.subTest(picture=picture.name):
                root = xml.etree.ElementTree.parse(picture).getroot()
                self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
                self.assertIsNotNone(root.find("{http://www.w3.org/2000/svg}title"))


if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    source, build, COMPILER, *FLAGS = sys.argv[1:split]
    SOURCE, BUILD = pathlib.Path(source).resolve(), pathlib.Path(build).resolve()
    unittest.main(argv=[sys.argv[0], *sys.argv[split + 1 :]])
