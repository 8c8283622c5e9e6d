#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs `echelon daemon` and `echelon keys` as an operator would, and a parent of its sessions.

daemon_test.py PROGRAM PARENT [unittest arguments]; PROGRAM is the built bin/echelon, PARENT the
program made of remote_parent.cc.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = ""
PARENT = ""
HANG_AFTER_SECONDS = 60  # a watchdog, not an expectation


def echelon(*arguments):
    return subprocess.run(
        [PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_AFTER_SECONDS,
        check=False,
    )


def children_of(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text(encoding="ascii").split()]


def ended(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return True
    return text.rsplit(") ", 1)[1][0] in "ZX"


def wait_until(condition):
    end = time.monotonic() + HANG_AFTER_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it has not come to pass")
        time.sleep(0.01)


@contextlib.contextmanager
def daemon(*arguments):
    """A daemon that serves, and where."""
    process = subprocess.Popen(
        [PROGRAM, "daemon", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"echelon daemon: serving at (\S+)\n", line)
        if found is None:
            process.kill()
            raise AssertionError(f"it said {line!r}: {process.communicate()[1]}")
        yield process, found[1]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process, how=signal.SIGTERM):
    process.send_signal(how)
    out, log = process.communicate(timeout=HANG_AFTER_SECONDS)
    return process.returncode, out, log


class Folder(unittest.TestCase):
    def setUp(self):
        made = tempfile.TemporaryDirectory(prefix="echelon-daemon-")
        self.addCleanup(made.cleanup)
        self.folder = pathlib.Path(made.name)

    def refused(self, *arguments, code=2):
        done = echelon(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def issue(self, host="localhost"):
        authority = self.folder / "authority"
        if not authority.exists():
            self.assertEqual(echelon("keys", "init", str(authority)).returncode, 0)
        done = echelon("keys", "issue", str(authority), host, "--ip", "127.0.0.1")
        self.assertEqual(done.returncode, 0, done.stderr)
        return authority / host


class DaemonTest(Folder):
    def test_it_says_where_it_serves_and_ends_in_order(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(how.name), daemon("--listen", "127.0.0.1:0") as (process, address):
                host, port = address.rsplit(":", 1)
                self.assertEqual(host, "127.0.0.1")
                socket.create_connection((host, int(port)), timeout=HANG_AFTER_SECONDS).close()
                code, out, log = end(process, how)
                self.assertEqual((code, out), (0, ""), log)
                self.assertIn(f"echelon daemon: serving at {address}\n", log)
                self.assertIn(f"the daemon was ended by {how.name}; 0 sessions", log)

    def test_every_line_of_its_log_has_the_time(self):
        with daemon("--listen", "127.0.0.1:0") as (process, _):
            _, _, log = end(process)
        for line in log.splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z echelon daemon: ")

    def test_it_may_have_all_descriptors_that_its_limit_allows(self):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        with daemon("--listen", "127.0.0.1:0") as (process, _):
            limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            self.assertEqual(limits, (before[1], before[1]))

    def test_its_spawner_ends_with_it_however_it_ends(self):
        with daemon("--listen", "127.0.0.1:0") as (process, _):
            spawners = children_of(process.pid)
            self.assertEqual(len(spawners), 1)
            end(process, signal.SIGKILL)
        wait_until(lambda: all(ended(pid) for pid in spawners))

    def test_a_lost_spawner_ends_it_with_the_cause(self):
        with daemon("--listen", "127.0.0.1:0") as (process, _):
            subprocess.run(["kill", "-9", str(children_of(process.pid)[0])], check=True)
            _, log = process.communicate(timeout=HANG_AFTER_SECONDS)
            self.assertEqual(process.returncode, 1, log)
            self.assertIn("no session can be opened any more", log)
            self.assertIn("SIGKILL", log)

    def test_an_address_that_is_taken_is_refused(self):
        with daemon("--listen", "127.0.0.1:0") as (_, address):
            said = self.refused("daemon", "--listen", address, code=1)
            self.assertIn(address, said)
            self.assertIn("taken", said)

    def test_an_address_that_others_reach_needs_keys_or_a_plain_word(self):
        said = self.refused("daemon", "--listen", "0.0.0.0:0")
        self.assertIn("--tls-dir", said)
        self.assertIn("--insecure", said)

    def test_insecure_warns_loudly_and_names_what_it_means(self):
        with daemon("--listen", "0.0.0.0:0", "--insecure") as (process, _):
            _, _, log = end(process)
        self.assertEqual(log.count("WARNING"), 2, log)
        self.assertIn("can run code as this user", log)

    def test_on_loopback_nothing_is_warned_of(self):
        with daemon("--listen", "127.0.0.1:0", "--insecure") as (process, _):
            _, _, log = end(process)
        self.assertNotIn("WARNING", log)

    def test_with_keys_it_serves_at_any_address(self):
        with daemon("--listen", "0.0.0.0:0", "--tls-dir", str(self.issue())) as (process, _):
            code, _, log = end(process)
        self.assertEqual(code, 0)
        self.assertNotIn("WARNING", log)

    def test_keys_that_are_none_are_refused(self):
        said = self.refused("daemon", "--listen", "127.0.0.1:0", "--tls-dir", str(self.folder))
        self.assertIn("ca.pem", said)

    def test_what_is_no_address_is_refused_with_what_one_looks_like(self):
        self.assertIn("HOST:PORT", self.refused("daemon", "--listen", "here"))

    def test_a_word_that_cannot_be_allowed_is_named(self):
        said = self.refused("daemon", "--listen", "127.0.0.1:0", "--allow", "library,everything")
        self.assertIn("'everything'", said)

    def test_limits_out_of_range_say_the_range(self):
        self.assertIn("1 to 1024", self.refused("daemon", "--max-sessions", "0"))

    def test_a_socket_file_will_do(self):
        path = f"unix:{self.folder}/daemon"
        with daemon("--listen", path) as (process, address):
            self.assertEqual(address, path)
            self.assertIn("taken", self.refused("daemon", "--listen", path, code=1))
            self.assertEqual(end(process)[0], 0)


class SessionTest(Folder):
    """A daemon, a pod that starts a Worker there, and keys between them."""

    def parent(self, address, *arguments):
        process = subprocess.Popen(
            [PARENT, address, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def started(self, address, *arguments):
        process = self.parent(address, *arguments)
        line = process.stdout.readline()
        if line != "started\n":
            self.fail(process.communicate(timeout=HANG_AFTER_SECONDS)[1])
        return process

    def not_started(self, address, *arguments):
        """What the parent says."""
        process = self.parent(address, *arguments)
        out, said = process.communicate(timeout=HANG_AFTER_SECONDS)
        self.assertEqual((process.returncode, out), (1, ""), said)
        return said

    def sessions_of(self, daemon_pid):
        """The spawner's children, and all that is below them."""
        found = []
        waiting = [child for spawner in children_of(daemon_pid) for child in children_of(spawner)]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                waiting += children_of(pid)
        return found

    def test_a_session_starts_and_ends_with_its_parent(self):
        with daemon("--listen", "127.0.0.1:0") as (process, address):
            parent = self.started(address)
            tree = self.sessions_of(process.pid)
            self.assertGreaterEqual(len(tree), 3, "session, its spawner, a sub-worker")
            _, said = parent.communicate("\n", timeout=HANG_AFTER_SECONDS)
            self.assertEqual(parent.returncode, 0, said)
            wait_until(lambda: all(ended(pid) for pid in tree))
            code, _, log = end(process)
        self.assertEqual(code, 0)
        self.assertRegex(log, r"session 1 \(pod0/host0\) opened: level 3, 1 sub-workers, 0 chips")
        self.assertRegex(log, r"session 1 \(pod0/host0\) ready: pid \d+, \d+\.\d{3} s")
        self.assertIn("session 1 (pod0/host0) ended:", log)

    def test_a_parent_that_is_killed_leaves_nothing(self):
        with daemon("--listen", "127.0.0.1:0") as (process, address):
            parent = self.started(address)
            tree = self.sessions_of(process.pid)
            parent.kill()
            wait_until(lambda: all(ended(pid) for pid in tree))
            self.started(address)  # the daemon serves on

    def test_a_session_leaves_no_socket_however_it_ends(self):
        with daemon("--listen", f"unix:{self.folder}/daemon") as (process, address):
            for how in ("its parent ends it", "its parent is killed"):
                with self.subTest(how):
                    parent = self.started(address)
                    # While it runs, too: once its lanes are there, nobody else is let in.
                    wait_until(lambda: [path.name for path in self.folder.iterdir()] == ["daemon"])
                    if how == "its parent is killed":
                        parent.kill()
                    parent.communicate("\n", timeout=HANG_AFTER_SECONDS)
                    wait_until(lambda: [path.name for path in self.folder.iterdir()] == ["daemon"])
            self.assertIsNone(process.poll())

    def test_sessions_go_on_when_nobody_reads_its_log(self):
        with daemon("--listen", "127.0.0.1:0") as (process, address):
            process.stdout.close()
            process.stderr.close()
            parent = self.started(address)
            self.assertIsNone(process.poll())
            parent.communicate("\n", timeout=HANG_AFTER_SECONDS)
            self.assertEqual(parent.returncode, 0)
            process.terminate()
            self.assertEqual(process.wait(timeout=HANG_AFTER_SECONDS), 0)
            process.stdout = process.stderr = None  # communicate() would read them

    def test_a_daemon_that_is_killed_leaves_nothing(self):
        with daemon("--listen", "127.0.0.1:0") as (process, address):
            self.started(address)
            tree = self.sessions_of(process.pid)
            process.kill()
            wait_until(lambda: all(ended(pid) for pid in tree))

    def test_a_daemon_that_is_told_to_end_ends_its_sessions(self):
        with daemon("--listen", "127.0.0.1:0") as (process, address):
            self.started(address)
            tree = self.sessions_of(process.pid)
            code, _, log = end(process)
            self.assertEqual(code, 0, log)
            self.assertTrue(all(ended(pid) for pid in tree), "before it ends itself")
            self.assertIn("ending: the daemon was ended by SIGTERM; 1 sessions", log)

    def test_keys_of_one_authority_let_each_other_in(self):
        keys = self.issue()
        with daemon("--listen", "127.0.0.1:0", "--tls-dir", str(keys)) as (_, address):
            self.started(address, keys)

    def test_keys_of_another_authority_do_not(self):
        keys = self.issue()
        other = self.folder / "other"
        self.assertEqual(echelon("keys", "init", str(other)).returncode, 0)
        self.assertEqual(echelon("keys", "issue", str(other), "127.0.0.1").returncode, 0)
        with daemon("--listen", "127.0.0.1:0", "--tls-dir", str(keys)) as (_, address):
            said = self.not_started(address, other / "127.0.0.1")
            self.assertIn(address, said)
            self.assertIn("certificate", said)
            self.started(address, keys)  # the daemon serves on

    def test_a_parent_without_keys_is_not_let_in(self):
        keys = self.issue()
        with daemon("--listen", "127.0.0.1:0", "--tls-dir", str(keys)) as (_, address):
            said = self.not_started(address)
            self.assertIn(address, said)
            self.assertIn("TLS", said)
            self.started(address, keys)

    def test_a_parent_with_keys_does_not_speak_in_plain_text(self):
        with daemon("--listen", "127.0.0.1:0") as (_, address):
            said = self.not_started(address, self.issue())
            self.assertIn("TLS", said)
            self.started(address)

    def test_beyond_the_limit_the_parent_hears_the_limit(self):
        with daemon("--listen", "127.0.0.1:0", "--max-sessions", "1") as (_, address):
            first = self.started(address)
            self.assertIn("1 are allowed (--max-sessions)", self.not_started(address))
            first.communicate("\n", timeout=HANG_AFTER_SECONDS)


class KeysTest(Folder):
    def test_an_authority_and_a_host_are_made(self):
        host = self.issue("host1.example")
        names = sorted(path.name for path in host.iterdir())
        self.assertEqual(names, ["ca.pem", "host.key", "host.pem"])
        for secret in (host / "host.key", self.folder / "authority" / "ca.key"):
            self.assertEqual(stat.S_IMODE(secret.stat().st_mode), 0o600)

    def test_it_says_what_it_made(self):
        done = echelon("keys", "init", str(self.folder / "new"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{self.folder}/new/ca.key", done.stdout)

    def test_out_names_another_folder(self):
        self.issue("host1")
        out = self.folder / "elsewhere"
        done = echelon("keys", "issue", str(self.folder / "authority"), "host2", "--out", str(out))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((out / "host.pem").exists())

    def test_nothing_is_overwritten(self):
        host = self.issue()
        before = (host / "host.key").read_bytes()
        said = self.refused("keys", "issue", str(self.folder / "authority"), "localhost")
        self.assertIn("is not overwritten", said)
        self.assertEqual((host / "host.key").read_bytes(), before)

    def test_without_an_authority_it_says_how_to_make_one(self):
        said = self.refused("keys", "issue", str(self.folder / "none"), "host1")
        self.assertIn("echelon keys init", said)

    def test_keys_alone_asks_which(self):
        said = self.refused("keys")
        self.assertIn("init", said)
        self.assertIn("issue", said)


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    PARENT = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
