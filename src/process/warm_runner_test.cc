// SPDX-License-Identifier: Apache-2.0
//
// Spawners that keep a runner: this very program, started again. Each case is a process of its own
// whose fork precedes any thread.
#include "process/warm_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/syscall.h"
#include "process/test_tree.h"

namespace echelon {
namespace {

using testing::HasSubstr;

// Not a case: what the runners of the others are.
TEST(DISABLED_Runner, Main) {
  auto boot = enter_runner_child();
  ASSERT_TRUE(boot.ok()) << boot.status().to_string();
  if (!boot->has_value()) leave_child(0);
  std::array<char, 16> text{};
  const auto bytes = ::pread((*boot)->payload.get(), text.data(), text.size(), 0);
  std::printf("given %.*s\n", static_cast<int>(bytes), text.data());
  leave_child(test_child_main(std::move(**boot)));
}

std::vector<std::string> this_program() {
  return {std::filesystem::read_symlink("/proc/self/exe").string(),
          "--gtest_filter=DISABLED_Runner.Main", "--gtest_also_run_disabled_tests"};
}

pid_t only_child_of(pid_t pid) {
  std::ifstream children("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) +
                         "/children");
  pid_t first = 0, second = 0;
  children >> first >> second;
  return second == 0 ? first : 0;
}

// A spawner with a runner, and a file that its children are given.
struct RunnerTree {
  UniqueFd file = create_memfd("payload", 5).value();
  std::optional<TestTree> tree;

  explicit RunnerTree(std::vector<std::string> runner) {
    EXPECT_EQ(::pwrite(file.get(), "hello", 5, 0), 5);
    TestTree::Options options;
    options.children = 0;
    options.payload = file.get();
    options.runner = std::move(runner);
    tree.emplace(std::move(options));
  }
  pid_t await_runner() {
    pid_t pid = 0;
    EXPECT_TRUE(
        tree->pump_until([&] { return (pid = only_child_of(tree->spawner().pid())) != 0; }));
    return pid;
  }
};

TEST(WarmRunnerTest, TheProcessThatWasKeptBecomesTheChildWithWhatAForkedOneIsBornWith) {
  RunnerTree with(this_program());
  TestTree& tree = *with.tree;
  const pid_t kept = with.await_runner();
  tree.add(ChildKind::kWorker);
  ASSERT_TRUE(tree.start());
  EXPECT_EQ(tree.child().pid(), kept);
  EXPECT_TRUE(tree.pump_until(
      [&] { return tree.out[ChildIndex{0}].find("given hello\n") != std::string::npos; }));
  tree.run(TestTask::kEmpty);
  EXPECT_TRUE(tree.close().ok());
  EXPECT_EQ(tree.exits.at(ChildIndex{0}).wait_status, 0);
}

TEST(WarmRunnerTest, ItIsAsCleanAsAForkedChild) {
  RunnerTree with(this_program());
  TestTree& tree = *with.tree;
  tree.add(ChildKind::kWorker);
  ASSERT_TRUE(tree.start());
  const std::string in_runner = tree.run(TestTask::kHygiene);
  TestTree forked;
  ASSERT_TRUE(forked.start());
  EXPECT_EQ(in_runner, forked.run(TestTask::kHygiene));
}

TEST(WarmRunnerTest, SeveralAtOnceAllGetOne) {
  RunnerTree with(this_program());
  TestTree& tree = *with.tree;
  for (int i = 0; i < 3; ++i) tree.add(ChildKind::kWorker);
  ASSERT_TRUE(tree.start());
  for (std::uint32_t i = 0; i < 3; ++i) tree.run(TestTask::kEmpty, {}, i);
}

TEST(WarmRunnerTest, OneThatEndsUntakenIsTellingWhyAndMadeAgain) {
  RunnerTree with({"/bin/sh", "-c", "echo there is no such module >&2; exit 3"});
  TestTree& tree = *with.tree;
  EXPECT_TRUE(tree.pump_until([&] {
    const std::string& said = tree.err[kRunnerIndex];
    const auto first = said.find("no such module");
    return first != std::string::npos &&
           said.find("no such module", first + 1) != std::string::npos;
  }));
}

TEST(WarmRunnerTest, AChildWhoseRunnerCannotStartFailsWithItsWords) {
  RunnerTree with({"/bin/sh", "-c", "echo there is no such module >&2; exit 3"});
  TestTree& tree = *with.tree;
  tree.add(ChildKind::kWorker);
  EXPECT_TRUE(tree.pump_until([&] { return tree.down.contains(ChildIndex{0}); }));
  EXPECT_THAT(tree.down[ChildIndex{0}].to_string(), HasSubstr("there is no such module"));
}

TEST(WarmRunnerTest, AProgramThatIsNotThereIsNamed) {
  RunnerTree with({"/nowhere/python"});
  TestTree& tree = *with.tree;
  EXPECT_TRUE(tree.pump_until([&] {
    return tree.err[kRunnerIndex].find("cannot run /nowhere/python: No such file") !=
           std::string::npos;
  }));
}

TEST(WarmRunnerTest, OneThatIsKilledIsReplaced) {
  RunnerTree with(this_program());
  TestTree& tree = *with.tree;
  const pid_t kept = with.await_runner();
  ::kill(kept, SIGKILL);
  // Until then it could still be given a child, which would die with it.
  ASSERT_TRUE(tree.pump_until([&] { return process_ended(kept); }));
  tree.add(ChildKind::kWorker);
  ASSERT_TRUE(tree.start());
  EXPECT_NE(tree.child().pid(), kept);
  tree.run(TestTask::kEmpty);
}

TEST(WarmRunnerTest, ItEndsWithItsSpawner) {
  RunnerTree with(this_program());
  TestTree& tree = *with.tree;
  const pid_t kept = with.await_runner();
  ::kill(tree.spawner().pid(), SIGKILL);
  EXPECT_TRUE(tree.pump_until([&] { return process_ended(kept); }));
}

TEST(WarmRunnerTest, ItEndsWithItsTree) {
  RunnerTree with(this_program());
  const pid_t kept = with.await_runner();
  EXPECT_TRUE(with.tree->close().ok());
  EXPECT_TRUE(process_ended(kept));
}

TEST(WarmRunnerTest, WithoutACommandThereIsNone) {
  WarmRunner none({});
  EXPECT_EQ(none.next_timer_ns(), 0u);
  none.step(1);
  EXPECT_EQ(none.pid(), 0);
  SpawnRequest request;
  request.spec.path = "pod0/host0";
  const auto taken = none.take(request, {}, 1);
  ASSERT_FALSE(taken.ok());
  EXPECT_THAT(taken.status().info().message, HasSubstr("pod0/host0: there is no runner"));
}

TEST(WarmRunnerTest, NobodyStartsItByHand) {
  EXPECT_THAT(enter_runner_child().status().info().message,
              HasSubstr("started by an echelon Worker"));
}

}  // namespace
}  // namespace echelon
