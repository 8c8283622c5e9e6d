# SPDX-License-Identifier: Apache-2.0
"""Each rule of tools/tidy.py finds its bad sample and passes its good one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import tidy  # noqa: E402
from tidy_rules.leftovers import SPDX  # noqa: E402
from tidy_rules.source import File  # noqa: E402

# rule -> (bad samples, good samples); each is a body without the SPDX line, in src/process/x.cc.
SAMPLES = {
    "sleep": (
        [
            "std::this_thread::sleep_for(1ms);",
            "usleep(5);",
            "::nanosleep(&t, nullptr);",
            "sleep(1);",
        ],
        [
            "// never sleep_for",
            'log("sleep(1)");',
            "not_a_sleep(1);",
            "x.sleep(1);",
            "sleep(until);",
        ],
    ),
    "shell": (["system(command);", "std::system(c);"], ["x.system(1);", "by_system(1);"]),
    "unbounded": (["strcpy(a, b);", "sprintf(a, b);"], ["snprintf(a, 3, b);"]),
    "lenient-number": (
        ["int x = atoi(text);", "return atoi(text);"],
        ["std::from_chars(a, b, x);"],
    ),
    "assert": (["assert(x);"], ["static_assert(x);", "EXPECT(x);"]),
    "detach": (["thread.detach();", "t->detach();"], ["pool.detach(handle);"]),
    "fence": (
        ["std::atomic_thread_fence(std::memory_order_seq_cst);", "__sync_synchronize();"],
        ["// no atomic_thread_fence"],
    ),
    "output": (
        ["printf(x);", "std::cout << x;", "fprintf(stdout, x);"],
        ["fmt::format(x);", "::dprintf(fd, x);", "std::cout.flush();", "snprintf(a, 3, x);"],
    ),
    "randomness": (
        ["std::random_device d;", "int x = rand();"],
        ["env.random();", "Random random(seed);"],
    ),
    "raw-new": (
        ["auto* x = new Thing(1);", "delete x;", "delete[] x;"],
        [
            "X(const X&) = delete;",
            "auto x = std::unique_ptr<Thing>(new Thing(1));",
            "new (place) Thing(1);",
            "void* operator new(std::size_t bytes);",
            "auto x = BufferRef(new Buffer());",
            "if (n == 0) delete this;",
            "auto x =\n    std::unique_ptr<Thing>(\n        new Thing(1));",
            "BufferRef buffer(new Buffer());",
            "A::A() : state_(new State{1}) {}",
        ],
    ),
    "friend": (
        ["class A {\n  friend class B;\n};"],
        [
            "class A {\n  friend class BTest;\n  friend bool operator==(A, A) = default;\n};",
            "class A {\n  friend struct detail::Access;\n};",
        ],
    ),
    "singleton": (["static Registry& instance();"], ["Registry& registry();"]),
    "using-namespace": (
        ["using namespace std;"],
        ["using namespace std::chrono_literals;", "using std::string;"],
    ),
    "names": (
        ["class RingManager;", "struct FrameUtil {};", "namespace util {}"],
        ["class Ring;", "int utilization = 0;", "// a Manager"],
    ),
    "dead-code": (
        ["#if 0\nint x;\n#endif", "// x = compute(1);", "// return x;"],
        ["#if defined(__x86_64__)\n#endif", "// Return the x;", "//   auto x = host.run(1);"],
    ),
    "include-guard": (["#ifndef ECHELON_X_H_\n#endif"], ["#ifndef NDEBUG\n#endif"]),
    "todo": (["// TODO: later", "// FIXME", "// TODO(me): x"], ["// TODO(bug): x"]),
    "whitespace": (["int x;  ", "int\tx;"], ["int x;"]),
    "machine-path": (["// /" + "work/main/dev"], ["// $HOME/work/main", "// /dev/shm"]),
    "columns": (["int " + "x" * 97 + ";"], ["int " + "x" * 95 + ";", "// http://" + "x" * 99]),
    "function-size": (
        ["void f() {\n" + "  g();\n" * 69 + "}", "Foo::Foo() : a_{1} {\n" + "  g();\n" * 69 + "}"],
        ["void f() {\n" + "  g();\n" * 68 + "}", "namespace a {\n" + "int x;\n" * 80 + "}"],
    ),
    "parameters": (
        [
            "void f(int a, int b, int c, int d, int e, int f, int g);",
            "struct S {\n S(int a, int b, int c, int d, int e, int f, int g) : a_{a} {}\n};",
        ],
        [
            "void f(std::map<int, int> a, int b, int c, int d, int e, int f);",
            "std::function<void(int, int, int, int, int, int, int)> f(int a);",
            "int x = f(1, 2, 3, 4, 5, 6, 7);",
            "static_assert(f(1, 2, 3, 4, 5, 6, 7));",
        ],
    ),
    "atomic-partner": (
        [
            "x.load(std::memory_order_acquire);",
            "std::atomic<int> x;\nvoid f() { x.store(1); }",
            "using Word = std::atomic<int>;\nWord w;\nvoid f() { w.exchange(1); }",
            "std::atomic_ref<int>(a).fetch_add(1);",
            "std::atomic_ref(a).store(1);",
            "std::atomic<int>& word(int i);\nvoid f() { word(3).store(1); }",
            "std::atomic<int> x[4];\nvoid f() { x[2].load(); }",
            "x.compare_exchange_strong(a, b, std::memory_order::acq_rel,\n  "
            "std::memory_order::relaxed);",
            "// pairs with f\nint a;\nx.load(std::memory_order_acquire);",
            "// pairs with f\na.load(std::memory_order_acquire);\n"
            "b.load(std::memory_order_acquire);",
        ],
        [
            "x.load(std::memory_order_relaxed);",
            "x.load(std::memory_order_acquire);  // pairs with Ring::push: the frame",
            "// Pairs with Ring::push, which publishes\n// the frame.\n"
            "x.load(std::memory_order_acquire);",
            "// partner: Ring::push\nwhile (a != 1 &&\n"
            "       x.load(std::memory_order_acquire)) {\n}",
            "image.load(path);",
            "cv.wait(lock);",
        ],
    ),
    "atomic-operator": (
        ["class A {\n  std::atomic<int> n_;\n  void f() { ++n_; }\n};"],
        ["class A {\n  std::atomic<int> n_{0};\n  bool f() { return n_ == 1; }\n};"],
    ),
}


def rules_in(text, path="src/process/x.cc"):
    file = File(path, f"// {SPDX}\n{text}\n")
    return {finding.rule for finding in tidy.check([file])}


class SampleTest(unittest.TestCase):
    def test_bad_samples_are_found(self):
        for rule, (bad, _) in SAMPLES.items():
            for sample in bad:
                with self.subTest(rule=rule, sample=sample):
                    self.assertIn(rule, rules_in(sample))

    def test_good_samples_pass(self):
        for rule, (_, good) in SAMPLES.items():
            for sample in good:
                with self.subTest(rule=rule, sample=sample):
                    self.assertNotIn(rule, rules_in(sample))

    def test_every_ban_has_a_sample(self):
        names = {ban.rule for ban in tidy.bans.BANS}
        in_other_tests = {"engine-clock", "engine-thread", "error-output"}
        self.assertEqual(set(), names - set(SAMPLES) - in_other_tests)


class PlaceTest(unittest.TestCase):
    def test_tests_may_pause_and_use_atomics_freely(self):
        text = "usleep(1);\nx.load(std::memory_order_acquire);"
        self.assertEqual(set(), rules_in(text, "src/shm/ring_test.cc"))

    def test_mains_and_examples_may_print(self):
        self.assertEqual(set(), rules_in("std::cout << 1;", "src/cli/main.cc"))
        self.assertEqual(set(), rules_in("std::cout << 1;", "examples/hello/main.cc"))

    def test_only_our_own_processes_write_to_standard_error(self):
        text = "fprintf(stderr, x);"
        self.assertEqual({"error-output"}, rules_in(text, "src/api/x.cc"))
        self.assertEqual(set(), rules_in(text, "src/chip/x.cc"))

    def test_engine_has_no_clock_and_no_thread(self):
        text = "std::chrono::steady_clock::now();\nstd::jthread t;"
        found = rules_in(text, "src/engine/runs.cc")
        self.assertEqual({"engine-clock", "engine-thread"}, found)
        self.assertEqual(set(), rules_in(text, "src/base/env.cc"))

    def test_file_called_helper(self):
        self.assertEqual({"names"}, rules_in("int x;", "src/base/ring_helpers.cc"))

    def test_header_without_pragma_once(self):
        self.assertEqual({"pragma-once"}, rules_in("int x;", "src/base/x.h"))
        self.assertEqual(set(), rules_in("#pragma once\nint x;", "src/base/x.h"))

    def test_missing_spdx_line(self):
        found = {finding.rule for finding in tidy.check([File("src/base/x.cc", "int x;\n")])}
        self.assertEqual({"spdx"}, found)
        script = File("dev", f"#!/usr/bin/env bash\n# {SPDX}\n")
        self.assertEqual([], tidy.check([script]))

    def test_file_sizes_by_kind(self):
        for path, most in (("src/a/x.cc", 800), ("src/a/x_test.cc", 1000), ("src/a/x.h", 500)):
            once = "#pragma once\n" if path.endswith(".h") else "//\n"
            body = once + "int x;\n" * (most - 3)
            with self.subTest(path=path):
                self.assertEqual(set(), rules_in(body + "int y;", path))
                self.assertEqual({"file-size"}, rules_in(body + "int y;\nint z;", path))

    def test_notes_are_read_for_machine_paths_alone(self):
        text = "TODO x\t\n" + "x" * 200 + "\n"
        self.assertEqual([], tidy.check([File("docs/a.md", text)]))
        found = tidy.check([File("docs/a.md", "see /" + "work/main\n")])
        self.assertEqual(["machine-path"], [finding.rule for finding in found])


class FunctionTest(unittest.TestCase):
    def functions(self, text):
        return [(f.name, f.parameters, f.body) for f in tidy.functions_in(File("src/a/x.cc", text))]

    def test_kinds_of_definitions(self):
        text = """
namespace a {
enum class E : int { kA, kB = 2 };
struct S : Base<int> {
  int x = 0;
  std::array<int, 2> y{1, 2};
  explicit S(int a, int b = g(1, 2)) noexcept : Base<int>{a}, x(b) {
    if (a) { b(); }
  }
  bool operator==(const S& other) const { return x == other.x; }
  ~S() override;
 private:
  template <class T, int N>
  auto at(std::array<T, N> values, int i) const -> std::pair<T, int>;
};
const std::vector<int> kTable = {1, 2};
TEST_F(Fixture, DoesOneThing) {
  EXPECT_EQ(f([] { return 1; }), 1);
}
}  // namespace a
"""
        expected = [
            ("S", 2, 3),
            ("operator__", 1, 1),
            ("~S", 0, 0),
            ("at", 2, 0),
            ("TEST_F", 0, 3),
        ]
        self.assertEqual(expected, self.functions(text))

    def test_braces_in_strings_and_comments_do_not_count(self):
        text = 'void f() {\n  g("}", \'{\', R"x(})x");  // }\n  /* { */\n}\nvoid h() {}\n'
        self.assertEqual([("f", 0, 4), ("h", 0, 1)], self.functions(text))

    def test_preprocessor_lines_do_not_count(self):
        text = "#define X(a) \\\n  do { a(\n#if A\nvoid f() {}\n#endif\n"
        self.assertEqual([("f", 0, 1)], self.functions(text))


class CommandTest(unittest.TestCase):
    def test_findings_end_with_exit_code_1_and_say_how_to_mend(self):
        with tempfile.TemporaryDirectory() as root:
            subprocess.run(["git", "init", "-q", root], check=True)
            path = Path(root, "src/base/x.cc")
            path.parent.mkdir(parents=True)
            path.write_text(f"// {SPDX}\nvoid f() {{ usleep(1); }}\n", encoding="utf-8")
            done = self.run_tidy(root)
            self.assertEqual(1, done.returncode)
            self.assertIn("src/base/x.cc:2: sleep: 'usleep('\n    mend: ", done.stdout)
            path.write_text(f"// {SPDX}\nvoid f() {{}}\n", encoding="utf-8")
            self.assertEqual(0, self.run_tidy(root).returncode)

    def run_tidy(self, root):
        script = Path(tidy.__file__)
        command = [sys.executable, script, "--root", root]
        return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    unittest.main()
