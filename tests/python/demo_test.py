# SPDX-License-Identifier: Apache-2.0
"""The digits job from Python (examples/digits/python), beside the same job in C++."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
IN_PYTHON = [sys.executable, "-B", str(DIGITS / "python" / "demo.py")]
IN_CPP = [sys.executable, "-m", "echelon", "demo"]
HANG_SECONDS = 100  # a watchdog, not an expectation


def demo(command: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def summary(command: list[str], *arguments: object) -> dict[str, Any]:
    done = demo(command, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def nodes_of(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield tree
    for child in tree["children"]:
        yield from nodes_of(child)


def assert_same_training(*arguments: object) -> None:
    ours, theirs = summary(IN_PYTHON, *arguments), summary(IN_CPP, *arguments)
    assert ours["identical_to_one_chip"] is True
    assert list(ours) == list(theirs)
    differ = {"tasks_per_second", "seconds", "tree"}
    for key in ours.keys() - differ:
        assert ours[key] == theirs[key], key
    for mine, other in zip(nodes_of(ours["tree"]), nodes_of(theirs["tree"])):
        assert list(mine) == list(other)
        for key in ("path", "kind", "level", "state", "tasks", "tasks_failed", "lost_wakeups"):
            assert mine[key] == other[key], (mine["path"], key)


# --- the parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(("hosts", "chips"), [(2, 2), (3, 1), (1, 4)])
def test_every_tree_finds_what_the_cpp_program_finds(hosts: int, chips: int) -> None:
    assert_same_training("--epochs", 2, "--hosts", hosts, "--chips", chips)


@pytest.fixture()
def modules(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports one of the program's own modules."""
    monkeypatch.syspath_prepend(DIGITS / "python")
    return importlib.import_module


@pytest.mark.parametrize("bound", [1, 7, 1 << 63, (1 << 63) + 1, (1 << 64) - 1])
def test_numbers_below_a_bound_are_those_of_one_at_a_time(
    modules: Callable[[str], Any], bound: int
) -> None:
    # Beyond 2^63 every second number is passed over; in a permutation none ever is.
    splitmix = modules("splitmix")
    one = splitmix.Random(5)
    expected: list[int] = []
    while len(expected) < 40:
        value = int(one.next(1)[0])
        if value >= (1 << 64) % bound:
            expected.append(value % bound)
    many = splitmix.Random(5)
    assert many.below(np.full(40, bound, np.uint64)).tolist() == expected
    assert many.next(1) == one.next(1)


def test_a_permutation_holds_every_row_once_and_depends_on_its_stream(
    modules: Callable[[str], Any],
) -> None:
    permutation = modules("splitmix").permutation
    first, second = permutation(100, 42, 0), permutation(100, 42, 1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first.tolist() != second.tolist()


def test_the_tasks_are_those_of_the_plan(modules: Callable[[str], Any]) -> None:
    plan = modules("plan")
    found = summary(IN_PYTHON, "--epochs", 2, "--hosts", 3, "--chips", 2)
    tree = plan.TreeShape(hosts=3, chips=2)
    planned = 2 * plan.tasks_per_epoch(found["training_rows"], found["held_out_rows"], tree)
    assert found["tasks"] == planned


def test_the_digits_are_learnt() -> None:
    assert summary(IN_PYTHON)["accuracy"] >= 0.95


def test_both_agree_on_a_table_with_every_freedom(tmp_path: Path) -> None:
    lines = ["\ufeffwidth, one ,height,kind"]
    for i in range(131):
        label = ("-5", '" 100 "', "7.0")[i % 3]
        lines.append(f'{i * 37 % 101},1,"{i * i % 13}.25e-2",{label}\r')
    table = tmp_path / "table.csv"
    table.write_bytes("\n".join(lines).encode())
    assert_same_training("--data", table, "--epochs", 3, "--hidden", 9)


def test_both_agree_on_two_rows_and_idle_hosts(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("1,2,-5\n3,4,100\n")
    assert_same_training("--data", table, "--epochs", 2, "--hosts", 4, "--chips", 3)


def test_both_agree_on_numbers_at_the_ends_of_float64(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("1.7e308,1e-310,1\n-1e308,-1e-310,2\n1e308,0,3\n-0,5e-324,1\n5,6,6\n6,5,5\n")
    assert_same_training("--data", table, "--epochs", 2)


def test_both_agree_on_gzip_in_several_members(tmp_path: Path) -> None:
    table = tmp_path / "table.csv.gz"
    table.write_bytes(b"".join(gzip.compress(b"%d,%d\n" % (i, i % 2)) for i in range(9)) + b"rest")
    assert_same_training("--data", table, "--epochs", 1)


def test_kernels_are_compiled_where_none_are_built(tmp_path: Path) -> None:
    shutil.copytree(DIGITS, tmp_path / "examples" / "digits")
    copied = [*IN_PYTHON[:-1], str(tmp_path / "examples" / "digits" / "python" / "demo.py")]
    ours = summary(copied, "--epochs", 1)
    assert ours["parameters_sha256"] == summary(IN_CPP, "--epochs", 1)["parameters_sha256"]


# --- what is shown ------------------------------------------------------------------------------


def test_text_shows_tree_epochs_table_and_comparison() -> None:
    done = demo(IN_PYTHON, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    for part in ("host1", "epoch 1/2", "epoch 2/2", "busy %", "bit for bit", "SHA-256"):
        assert part in done.stdout
    assert done.stderr == ""  # no terminal, no bar


def test_a_terminal_gets_a_bar_that_is_gone_in_the_end() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*IN_PYTHON, "--epochs", "1", "--json"], stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = read_terminal(ours)
    assert process.returncode == 0
    assert "training   [" in shown and "reference  [" in shown
    assert "100 %" in shown
    assert shown.endswith("\r\x1b[K")


def read_terminal(fd: int) -> str:
    shown = b""
    try:
        while piece := os.read(fd, 4096):
            shown += piece
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(fd)
    return shown.decode()


# --- refusals -----------------------------------------------------------------------------------

BAD_TABLES = {
    "ragged": b"1,2,3\n1,2\n",
    "no number": b"1,2,3\n1,x,3\n",
    "not finite": b"1,2,3\n1,nan,3\n",
    "too large": b"1,2,3\n1,1e400,3\n",
    "too close to zero": b"1,2\n1e-400,3\n",
    "an empty field": b"1,2,3\n1,,3\n",
    "an empty label": b"1,2\n1,\n",
    "a label with a fraction": b"1,2.5\n2,2\n",
    "a label beyond int64": b"1,9223372036854775808\n2,2\n",
    "one column": b"1\n2\n",
    "empty": b"",
    "a header alone": b"a,b,c\n",
    "one label": b"1,2\n2,2\n",
    "a long field with control characters": b"1,2\n\x01" + b"x" * 40 + b",3\n",
}
BAD_GZIP = {
    "cut short": gzip.compress(b"1,2\n3,4\n" * 500)[:-4],
    "damaged": gzip.compress(b"1,2\n3,4\n" * 500)[:20] + b"damage" * 9,
    "no gzip": b"1,2\n3,4\n",
}


def assert_refused_alike(*arguments: object) -> str:
    """Returns the one line that both programs print."""
    ours, theirs = demo(IN_PYTHON, *arguments), demo(IN_CPP, *arguments)
    assert (ours.returncode, ours.stdout) == (2, "")
    assert ours.stderr.count("\n") == 1
    assert ours.stderr == theirs.stderr
    return ours.stderr


@pytest.mark.parametrize("what", BAD_TABLES)
def test_a_bad_table_is_refused_in_the_words_of_the_cpp_program(tmp_path: Path, what: str) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(BAD_TABLES[what])
    assert str(table) in assert_refused_alike("--data", table)


@pytest.mark.parametrize("what", BAD_GZIP)
def test_bad_gzip_is_refused_in_the_words_of_the_cpp_program(tmp_path: Path, what: str) -> None:
    table = tmp_path / "table.csv.gz"
    table.write_bytes(BAD_GZIP[what])
    assert str(table) in assert_refused_alike("--data", table, "--json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in assert_refused_alike("--data", tmp_path / "none.csv")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "Is a directory" in assert_refused_alike("--data", tmp_path)


def test_a_network_that_is_too_large_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("\n".join(",".join(["1"] * 5000 + [str(i)]) for i in range(2)))
    assert "20492290 parameters" in assert_refused_alike("--data", table, "--hidden", 4096)


@pytest.mark.parametrize(
    "arguments",
    [["--hosts", "5"], ["--chips", "0"], ["--epochs", "x"], ["--hidden", "-1"], ["--data"]],
)
def test_an_option_out_of_range_is_refused_in_one_line(arguments: list[str]) -> None:
    done = demo(IN_PYTHON, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert arguments[0] in done.stderr


# --- processes that end -------------------------------------------------------------------------


class Endless(NamedTuple):
    process: subprocess.Popen[str]
    pids: dict[str, int]  # of its processes, by path


@pytest.fixture()
def endless() -> Iterator[Endless]:
    """A demo that trains and would go on for long."""
    with subprocess.Popen(
        [*IN_PYTHON, "--epochs", "100000"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Endless(process, wait_until_it_trains(process))
        finally:
            process.kill()


def wait_until_it_trains(process: subprocess.Popen[str]) -> dict[str, int]:
    pids: dict[str, int] = {}
    parent = ""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            return pids
        if found := re.match(r"( *)(\w+) .*pid (\d+)", line):
            indent, name, pid = found.groups()
            parent = name if len(indent) == 2 else parent
            pids[f"{parent}/{name}" if len(indent) == 4 else name] = int(pid)
    raise AssertionError(process.communicate()[1])


def assert_all_end(pids: dict[str, int]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    for path, pid in pids.items():
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline, path
            time.sleep(0.01)


def test_a_killed_chip_is_named(endless: Endless) -> None:
    process, pids = endless
    os.kill(pids["host0/chip1"], signal.SIGKILL)
    said = process.communicate(timeout=HANG_SECONDS)[1]
    assert process.returncode == 1
    assert said.startswith("echelon demo: ") and "pod0/host0/chip1" in said
    assert "SIGKILL" in said and "Traceback" not in said
    assert_all_end(pids)


def test_ctrl_c_ends_it_without_a_word(
    endless: Endless,
) -> None:
    process, pids = endless
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=HANG_SECONDS)[1]
    assert (process.returncode, said) == (130, "")
    assert_all_end(pids)
