#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs `echelon` as a user would: its help, slips, the doctor, and every benchmark in short.

cli_test.py PROGRAM [unittest arguments]; PROGRAM is the built bin/echelon. No figure is judged
here: what is tested is that each is there.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import unittest

PROGRAM = ""
HANG_AFTER_SECONDS = 100  # a watchdog, not an expectation
COMMANDS = ["demo", "bench", "doctor", "daemon", "keys", "version"]
KEYS = {
    "floor": ["floor_ns_p50", "floor_ns_p99"],
    "dispatch": [
        "floor_ns_p50",
        "run_one_ns_p50",
        "run_one_ns_p99",
        "run_one_over_floor",
        "task_slope_ns",
        "task_slope_over_floor",
        "tasks_per_second",
        "tasks_per_second_8_children",
        "chip_run_one_ns_p50",
        "chip_run_one_ns_p99",
        "l4_run_one_ns_p50",
        "l4_run_one_ns_p99",
    ],
    "engine": ["floor_ns_p50", "task_ns", "task_bytes"],
    "idle": ["floor_ns_p50", "cpu_percent_max"],
    "startup": [
        "floor_ns_p50",
        "ms_p50",
        "with_2gib_private_ms_p50",
        "with_2gib_ms_p50",
        "fork_2gib_ms",
    ],
    "death": ["floor_ns_p50", "ms_p50"],
    "remote": [
        "tcp_floor_ns_p50",
        "grpc_floor_ns_p50",
        "grpc_run_one_over_stream",
        "grpc_tasks_per_second",
        "grpc_copy_over_stream",
        "tensor_run_one_over_empty",
        "dispatch_64_sessions_over_1",
        "ready_ms_p50",
        "idle_cpu_percent_max",
    ],
}
# In a report beside its figures.
BESIDE = ["benchmark", "targets", "notes", "quick", "machine"]


def echelon(*arguments, environment=None):
    return subprocess.run(
        [PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_AFTER_SECONDS,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def processes_of_program():
    """Every process that runs PROGRAM, or the floor's program beside it, whoever made it."""
    found = set()
    own = [pathlib.Path(PROGRAM), pathlib.Path(PROGRAM).parents[1] / "libexec/echelon/grpc_floor"]
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "exe").resolve() in own:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def orphans_among(processes):
    """Those that descend from nobody but init: what others run meanwhile does not count."""
    found = []
    for pid in processes:
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            continue  # it has ended
        if stat.rsplit(")", 1)[1].split()[1] == "1":
            found.append(pid)
    return found


class CommandTest(unittest.TestCase):
    def expect_refused(self, *arguments):
        done = echelon(*arguments)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def test_alone_it_says_what_there_is(self):
        done = echelon()
        self.assertEqual(done.returncode, 0)
        for command in COMMANDS:
            self.assertIn(f"\n  {command} ", done.stdout)

    def test_every_command_has_help_with_no_long_line(self):
        for command in [*COMMANDS, "bench dispatch", "bench all", "keys init", "keys issue"]:
            with self.subTest(command):
                done = echelon(*command.split(), "--help")
                self.assertEqual(done.returncode, 0)
                self.assertIn(f"echelon {command}", done.stdout)
                self.assertLessEqual(max(map(len, done.stdout.splitlines())), 100)

    def test_a_mistyped_command_is_named_with_the_one_meant(self):
        said = self.expect_refused("docter")
        self.assertIn("no command 'docter'", said)
        self.assertIn("did you mean 'doctor'", said)

    def test_a_mistyped_benchmark_is_named_with_the_one_meant(self):
        said = self.expect_refused("bench", "dispach")
        self.assertIn("did you mean 'dispatch'", said)

    def test_a_mistyped_option_is_named_with_the_one_meant(self):
        said = self.expect_refused("bench", "floor", "--jsn")
        self.assertIn("no option '--jsn'", said)
        self.assertIn("did you mean '--json'", said)

    def test_bench_alone_asks_which(self):
        said = self.expect_refused("bench")
        for name in [*KEYS, "all"]:
            self.assertIn(name, said)

    def test_a_count_out_of_range_says_the_range(self):
        self.assertIn("1 to 4", self.expect_refused("demo", "--hosts", "9"))

    def test_an_argument_that_does_not_belong_is_named(self):
        self.assertIn("'now'", self.expect_refused("version", "now"))

    def test_json_and_markdown_exclude_each_other(self):
        self.assertIn("--markdown", self.expect_refused("bench", "floor", "--json", "--markdown"))

    def test_a_full_disk_is_told(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            ran = subprocess.run(
                [PROGRAM, "version"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=HANG_AFTER_SECONDS,
                check=False,
            )
        self.assertEqual(ran.returncode, 1)
        self.assertIn("standard output cannot be written", ran.stderr)

    def test_version_names_the_build(self):
        version = json.loads(echelon("version", "--json").stdout)
        self.assertRegex(version["build"], "^[0-9a-f]{64}$")
        said = echelon("version").stdout
        self.assertIn(version["version"], said)
        self.assertIn(version["build"], said)


class DoctorTest(unittest.TestCase):
    def test_json_has_every_check_with_its_verdict(self):
        done = echelon("doctor", "--json")
        report = json.loads(done.stdout)
        self.assertEqual(done.returncode, 1 if report["verdict"] == "fail" else 0)
        names = [check["name"] for check in report["checks"]]
        for name in ["processors", "shared memory", "futex_waitv", "pidfd", "compiler", "drivers"]:
            self.assertIn(name, names)
        for check in report["checks"]:
            self.assertIn(check["verdict"], ["ok", "warn", "fail"])
            self.assertTrue(check["found"], check)

    def test_text_has_the_same_checks(self):
        report = json.loads(echelon("doctor", "--json").stdout)
        said = echelon("doctor").stdout
        for check in report["checks"]:
            self.assertIn(check["name"], said)

    def test_a_compiler_that_is_not_there_is_a_warning_with_advice(self):
        done = echelon("doctor", "--json", environment={"PATH": "", "CXX": "", "ECHELON_CXX": ""})
        check = next(c for c in json.loads(done.stdout)["checks"] if c["name"] == "compiler")
        self.assertEqual(check["verdict"], "warn")
        self.assertIn("compiler", check["advice"])

    def test_a_chip_program_that_is_not_there_fails(self):
        done = echelon("doctor", environment={"ECHELON_LIBEXEC": "/nowhere"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAIL", done.stdout)
        self.assertIn("/nowhere", done.stdout)


class ReportTest(unittest.TestCase):
    def check_report(self, name, report):
        self.assertEqual(report["benchmark"], name)
        for key in KEYS[name]:
            self.assertIsInstance(report[key], (int, float), key)
        for key, target in report["targets"].items():
            self.assertIn(key, report)
            self.assertIsInstance(target["met"], bool)


class BenchTest(ReportTest):
    def expect_report(self, name):
        done = echelon("bench", name, "--quick", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        report = json.loads(done.stdout)
        self.check_report(name, report)
        self.assertTrue(report["quick"])
        self.assertTrue(report["machine"]["processor"])
        return report

    def test_floor(self):
        self.expect_report("floor")

    def test_dispatch(self):
        self.expect_report("dispatch")

    def test_engine(self):
        self.expect_report("engine")

    def test_idle_watches_every_process_of_the_tree(self):
        names = [process["name"] for process in self.expect_report("idle")["processes"]]
        for path in ["pod0", "pod0/host0", "pod0/host1/chip1", "pod0/host1/sub0"]:
            self.assertIn(path, names)
        self.assertIn("spawner of pod0", names)

    def test_startup(self):
        self.expect_report("startup")

    def test_death(self):
        self.expect_report("death")

    def test_remote_has_its_figures_and_no_others(self):
        report = self.expect_report("remote")
        self.assertEqual(set(report) - {*BESIDE, "parts", "processes"}, set(KEYS["remote"]))
        self.assertEqual(
            set(report["targets"]),
            set(KEYS["remote"])
            - {"tcp_floor_ns_p50", "grpc_floor_ns_p50", "tensor_run_one_over_empty"},
        )

    def test_remote_watches_daemon_session_and_parent_while_idle_and_no_floor(self):
        names = [process["name"] for process in self.expect_report("remote")["processes"]]
        for name in ["pod0", "daemon", "pod0/host0", "pod0/host0/sub1", "pod0/host0/chip1"]:
            self.assertIn(name, names)
        self.assertNotIn("spawner of ", names)

    def test_remote_leaves_no_process_behind(self):
        before = processes_of_program()
        self.expect_report("remote")
        self.assertEqual(orphans_among(processes_of_program() - before), [])

    def test_remote_without_a_transport_says_so_and_does_not_fail(self):
        done = echelon(
            "bench", "remote", "--quick", "--json", environment={"ECHELON_LIBEXEC": "/nowhere"}
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        for key in KEYS["remote"]:
            self.assertIsNone(report[key])
        self.assertIn("grpc_floor", "".join(report["notes"]))

    def test_text_says_what_is_measured_and_wanted(self):
        done = echelon("bench", "floor", "--quick")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("64 bytes there and back", done.stdout)
        self.assertIn("note: shortened by --quick", done.stdout)


class LedgerTest(ReportTest):
    """The whole of it; apart, so that it runs beside the others."""

    def test_all_is_one_object_with_one_a_benchmark(self):
        done = echelon("bench", "all", "--quick", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        ledger = json.loads(done.stdout)
        self.assertTrue(ledger["complete"])
        for name in KEYS:
            self.check_report(name, ledger[name])

    def test_markdown_is_a_page_with_every_key_and_nothing_stays_behind(self):
        before = processes_of_program()
        done = echelon("bench", "all", "--quick", "--markdown")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("<!-- SPDX-License-Identifier"))
        for name, keys in KEYS.items():
            self.assertIn(f"\n## {name}\n", done.stdout)
            for key in keys:
                self.assertIn(f"`{key}`", done.stdout)
        self.assertEqual(orphans_among(processes_of_program() - before), [])


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
