#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs `echelon demo` as a user would: the parameters on several trees, odd tables, bad files.

demo_test.py PROGRAM [unittest arguments]; PROGRAM is the built bin/echelon.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = ""
HANG_AFTER_SECONDS = 100  # a watchdog, not an expectation


def demo(*arguments):
    return subprocess.run(
        [PROGRAM, "demo", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_AFTER_SECONDS,
        check=False,
    )


def nodes_of(tree):
    yield tree
    for child in tree["children"]:
        yield from nodes_of(child)


class DemoTest(unittest.TestCase):
    def summary(self, *arguments):
        result = demo("--json", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)


class TreeTest(DemoTest):
    """The shipped digits."""

    def test_every_tree_gives_the_same_parameters(self):
        trees = [(1, 1), (2, 2), (3, 1), (1, 3), (4, 4)]
        summaries = [
            self.summary("--epochs", 2, "--hosts", hosts, "--chips", chips)
            for hosts, chips in trees
        ]
        for summary in summaries:
            self.assertTrue(summary["identical_to_one_chip"])
        self.assertEqual(len({summary["parameters_sha256"] for summary in summaries}), 1)

    def test_the_tree_is_the_one_asked_for(self):
        summary = self.summary("--epochs", 1, "--hosts", 3, "--chips", 2)
        kinds = [(node["level"], node["kind"]) for node in nodes_of(summary["tree"])]
        self.assertEqual(kinds.count((4, "worker")), 1)
        self.assertEqual(kinds.count((3, "worker")), 3)
        self.assertEqual(sum(kind == "chip" for _, kind in kinds), 6)
        self.assertEqual(sum(kind == "sub" for _, kind in kinds), 4)

    def test_every_node_works_and_no_wake_up_is_lost(self):
        summary = self.summary("--epochs", 2)
        nodes = list(nodes_of(summary["tree"]))
        for node in nodes:
            if node["path"] != "pod0":
                self.assertGreater(node["tasks"], 0, node["path"])
            self.assertEqual(node["tasks_failed"], 0, node["path"])
            self.assertEqual(node["lost_wakeups"], 0, node["path"])
        self.assertEqual(summary["tasks"], sum(node["tasks"] for node in nodes))

    def test_the_tasks_are_those_of_the_plan(self):
        # 1,438 rows are 23 steps. An epoch: shuffle, 23 x (2 hosts x (step, read, 2 chips, add)
        # and descend), 2 hosts x (evaluate, 2 chips, add), report. The run itself may count.
        summary = self.summary("--epochs", 3)
        planned = 3 * (1 + 23 * (2 * 5 + 1) + 2 * 4 + 1)
        self.assertIn(summary["tasks"], (planned, planned + 1))

    def test_text_shows_tree_epochs_table_and_comparison(self):
        result = demo("--epochs", 2)
        self.assertEqual(result.returncode, 0, result.stderr)
        for part in ("host1", "epoch 1/2", "epoch 2/2", "busy %", "bit for bit", "SHA-256"):
            self.assertIn(part, result.stdout)
        self.assertEqual(result.stderr, "")  # no terminal, no bar


class DeathTest(DemoTest):
    """A demo that would go on for long, and one of its processes is killed."""

    def start(self):
        """Returns the demo, once it trains, and the ids of its processes by path."""
        process = subprocess.Popen(
            [PROGRAM, "demo", "--epochs", "100000"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        pids = {}
        parent = ""
        for line in process.stdout:
            if line.startswith("epoch"):
                return process, pids
            found = re.match(r"( *)(\w+) .*pid (\d+)", line)
            if found:
                indent, name, pid = found.groups()
                if len(indent) == 2:
                    parent = name
                pids[f"{parent}/{name}" if len(indent) == 4 else name] = int(pid)
        raise self.failureException(process.stderr.read())

    def assert_all_end(self, pids):
        deadline = time.monotonic() + HANG_AFTER_SECONDS
        for path, pid in pids.items():
            while pathlib.Path(f"/proc/{pid}").exists():
                self.assertLess(time.monotonic(), deadline, path)
                time.sleep(0.01)

    def test_a_killed_chip_is_named(self):
        process, pids = self.start()
        os.kill(pids["host0/chip1"], signal.SIGKILL)
        _, said = process.communicate(timeout=HANG_AFTER_SECONDS)
        self.assertEqual(process.returncode, 1)
        self.assertIn("chip1", said)
        self.assertIn("SIGKILL", said)
        self.assert_all_end(pids)

    def test_a_killed_demo_leaves_no_process(self):
        process, pids = self.start()
        process.kill()
        process.communicate(timeout=HANG_AFTER_SECONDS)
        self.assert_all_end(pids)


class AccuracyTest(DemoTest):
    def test_the_digits_are_learnt(self):
        self.assertGreaterEqual(self.summary()["accuracy"], 0.95)


class TableTest(DemoTest):
    """A user's own tables."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return str(pathlib.Path(self.folder.name) / name)

    def write(self, text, name="t.csv"):
        pathlib.Path(self.path(name)).write_bytes(text.encode())
        return self.path(name)

    def digests(self, path, trees, *arguments):
        return {
            self.summary(
                "--data", path, "--epochs", 2, "--hosts", hosts, "--chips", chips, *arguments
            )["parameters_sha256"]
            for hosts, chips in trees
        }

    def test_two_rows(self):
        path = self.write("1,2,-5\n3,4,100\n")
        self.assertEqual(len(self.digests(path, [(1, 1), (4, 4)])), 1)

    def test_any_integers_a_header_crlf_and_a_constant_column(self):
        numbers = random.Random(1)
        lines = ["width,one,height,kind"]
        for i in range(151):
            label = (-5, 100, 7)[i % 3]
            lines.append(f"{i % 3 + numbers.gauss(0, 0.1):.3f},1,{numbers.random()},{label}")
        path = self.write("\r\n".join(lines) + "\r\n")
        summary = self.summary("--data", path, "--epochs", 30, "--hidden", 9)
        self.assertEqual((summary["features"], summary["classes"]), (3, 3))
        self.assertGreater(summary["accuracy"], 0.8)
        self.assertEqual(len(self.digests(path, [(1, 1), (3, 2)], "--hidden", 9)), 1)

    def test_one_feature_one_hidden_unit(self):
        path = self.write("".join(f"{i},{int(i > 33)}\n" for i in range(67)))
        self.assertTrue(self.summary("--data", path, "--hidden", 1)["identical_to_one_chip"])

    def test_more_features_than_rows(self):
        numbers = random.Random(2)
        rows = [[numbers.random() for _ in range(500)] + [i % 2] for i in range(20)]
        path = self.write("\n".join(",".join(map(str, row)) for row in rows))
        self.assertEqual(self.summary("--data", path, "--epochs", 2)["features"], 500)

    def test_gzip(self):
        path = self.path("t.csv.gz")
        with gzip.open(path, "wt") as file:
            file.write("1,2,0\n3,4,1\n5,6,0\n")
        self.assertEqual(self.summary("--data", path, "--epochs", 1)["classes"], 2)

    def refused(self, line, *arguments):
        for json_too in ([], ["--json"]):
            result = demo(*arguments, *json_too)
            self.assertEqual(result.returncode, 2)
            self.assertEqual(result.stdout, "")
            self.assertEqual(result.stderr, f"echelon demo: {line}\n")

    def test_bad_files_are_refused_in_one_line(self):
        cases = {
            "1,2,3\n1,2\n": ":2: 2 columns where line 1 has 3",
            "1,2,3\n1,x,3\n": ":2: column 2: 'x' is not a number",
            "1,2,3\n1,nan,3\n": ":2: column 2: 'nan' is not a finite number",
            "": ": is empty",
            "a,b,c\n": ": holds a header line and no rows",
            "1,2\n2,2\n": ": every label is 2; at least two different ones are needed",
            "1,2.5\n": ":1: the label, the last column, is '2.5', not an integer",
        }
        for text, message in cases.items():
            with self.subTest(text=text):
                path = self.write(text)
                self.refused(path + message, "--data", path)

    def test_missing_file(self):
        path = self.path("none.csv")
        self.refused(f"{path}: cannot be opened: No such file or directory", "--data", path)

    def test_unreadable_file(self):
        if os.geteuid() == 0:
            self.skipTest("root reads everything")
        path = self.write("1,2\n")
        os.chmod(path, 0)
        self.refused(f"{path}: cannot be opened: Permission denied", "--data", path)

    def test_damaged_gzip(self):
        numbers = random.Random(3)
        text = "".join(f"{numbers.random()},{i % 2}\n" for i in range(5000))
        whole = gzip.compress(text.encode())
        path = self.path("t.csv.gz")
        pathlib.Path(path).write_bytes(whole[: len(whole) // 2])
        self.refused(f"{path}: is cut short: its gzip data does not end", "--data", path)

    def test_options_out_of_range(self):
        for arguments in (["--hosts", 5], ["--chips", 0], ["--epochs", 0], ["--hidden", -1]):
            with self.subTest(arguments=arguments):
                result = demo(*arguments)
                self.assertEqual(result.returncode, 2)
                self.assertEqual(result.stdout, "")
                self.assertIn(arguments[0], result.stderr)


def namespaces_are_permitted():
    tries = [["unshare", "--net", "true"], ["unshare", "--user", "--net", "true"]]
    return any(
        subprocess.run(command, capture_output=True, check=False).returncode == 0
        for command in tries
    )


class RemoteTest(DemoTest):
    """The hosts are daemons. Namespaces are used wherever they are permitted."""

    WHERE = "netns" if namespaces_are_permitted() else "loopback"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.environment = {**os.environ, "TMPDIR": str(self.folder)}

    def start(self, *arguments):
        return subprocess.Popen(
            [PROGRAM, "demo", "--remote", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run_remote(self, *arguments):
        with self.start(*arguments) as program:
            output, errors = program.communicate(timeout=HANG_AFTER_SECONDS)
        self.assertEqual(program.returncode, 0, errors)
        return output

    def left_behind(self):
        return [path.name for path in self.folder.iterdir() if path.name.startswith("echelon")]

    def daemons(self):
        """Those of this test: their logs lie in its folder."""
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"daemon" in words and any(str(self.folder).encode() in word for word in words):
                found.append(int(process.name))
        return found

    def wait_until(self, condition, what):
        end = time.monotonic() + HANG_AFTER_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.01)

    def test_the_parameters_are_those_of_local_hosts(self):
        local = self.summary("--epochs", 2)
        remote = json.loads(self.run_remote("--epochs", 2, "--json"))
        self.assertEqual(remote["hosts"], self.WHERE)
        self.assertEqual(remote["host_count"], local["hosts"])
        self.assertEqual(remote["parameters_sha256"], local["parameters_sha256"])
        self.assertTrue(remote["identical_to_one_chip"])
        shape = [(node["path"], node["kind"]) for node in nodes_of(local["tree"])]
        self.assertEqual([(node["path"], node["kind"]) for node in nodes_of(remote["tree"])], shape)
        self.assertEqual(self.left_behind(), [])

    def test_the_text_says_where_the_hosts_are(self):
        self.assertIn(f"\nhosts: {self.WHERE}", self.run_remote("--epochs", 1))

    def test_nothing_is_left_of_one_that_is_killed(self):
        for sent in (signal.SIGINT, signal.SIGKILL):
            with self.subTest(signal=sent), self.start("--epochs", 1000) as program:
                self.wait_until(lambda: len(self.daemons()) >= 2, "no daemons")
                program.send_signal(sent)
                program.communicate(timeout=HANG_AFTER_SECONDS)
                self.wait_until(lambda: not self.daemons(), "daemons are left")
                self.wait_until(lambda: not self.left_behind(), "keys are left")

    def test_where_namespaces_are_not_permitted_the_hosts_are_ports_of_loopback(self):
        forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
        command = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
        tried = subprocess.run([*command, "true"], capture_output=True, check=False)
        if tried.returncode != 0:
            self.assertEqual(self.WHERE, "loopback")  # the other tests have it
            return
        result = subprocess.run(
            [*command, PROGRAM, "demo", "--remote", "--epochs", "1"],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=HANG_AFTER_SECONDS,
            check=False,
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("hosts: loopback (network namespaces are not permitted here", result.stdout)
        self.assertEqual(self.left_behind(), [])

    def test_hosts_that_run_already(self):
        listening = "echelon daemon: serving at "
        hosts = self.folder / "hosts"
        with contextlib.ExitStack() as daemons, hosts.open("w") as file:
            for _ in range(2):
                daemon = daemons.enter_context(
                    subprocess.Popen(
                        [PROGRAM, "daemon", "--listen", "127.0.0.1:0", "--allow", "library"],
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        text=True,
                    )
                )
                daemons.callback(daemon.terminate)
                line = daemon.stdout.readline()
                self.assertTrue(line.startswith(listening), line)
                print(line.removeprefix(listening).strip(), file=file)
            file.flush()
            remote = json.loads(self.run_remote("--epochs", 1, "--json", "--hosts-file", hosts))
        self.assertEqual(remote["hosts"], "given")
        self.assertEqual(
            remote["parameters_sha256"], self.summary("--epochs", 1)["parameters_sha256"]
        )

    def test_a_hosts_file_that_is_none_is_refused(self):
        hosts = self.folder / "hosts"
        hosts.write_text("10.0.0.1:7171\n")
        result = demo("--remote", "--hosts-file", hosts)
        self.assertEqual(result.returncode, 2)
        self.assertIn("line 1: 10.0.0.1:7171 is not on this machine", result.stderr)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
