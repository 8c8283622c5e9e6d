// SPDX-License-Identifier: Apache-2.0
//
// Trees of real processes. Each case is a process of its own whose fork precedes any thread.
#include "process/spawner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>

#include "base/syscall.h"
#include "process/test_tree.h"

namespace echelon {
namespace {

using testing::HasSubstr;
using testing::Not;

// A whole tree under a process that the test may kill; its pids come over a pipe.
struct Grove {
  pid_t root = 0;
  pid_t spawner = 0;
  pid_t child = 0;
  pid_t left_behind = 0;
  UniqueFd alive;  // reads end-of-file when every process of the tree has ended

  Grove() {
    auto pids = create_pipe();
    auto life = create_pipe();
    root = ::fork();
    if (root == 0) {
      life->first.reset();
      // Not marked as ours, so that every process of the tree keeps it.
      static_cast<void>(life->second.release());
      run_root(pids->second.get());
    }
    pids->second.reset();
    life->second.reset();
    alive = std::move(life->first);
    std::array<pid_t, 3> got{};
    const auto bytes = ::read(pids->first.get(), got.data(), sizeof(got));
    EXPECT_EQ(bytes, static_cast<ssize_t>(sizeof(got)));
    spawner = got[0];
    child = got[1];
    left_behind = got[2];
  }

  [[noreturn]] static void run_root(int pids) {
    TestTree tree;
    ECHELON_CHECK(tree.start());
    const pid_t left = std::stoi(tree.run(TestTask::kForkDaemon));
    const std::array<pid_t, 3> mine = {tree.spawner().pid(), tree.child().pid(), left};
    [[maybe_unused]] const auto sent = ::write(pids, mine.data(), sizeof(mine));
    tree.pump_until([] { return false; });
    ::_exit(1);
  }

  void expect_all_end() {
    char byte = 0;
    EXPECT_EQ(::read(alive.get(), &byte, 1), 0);
    ::waitpid(root, nullptr, 0);
  }
};

TEST(SpawnerTest, AForkedChildReadsThePayloadItWasGiven) {
  const UniqueFd file = create_memfd("payload", 5).value();
  ASSERT_EQ(::pwrite(file.get(), "hello", 5, 0), 5);
  TestTree::Options options;
  options.payload = file.get();
  options.sub_main = [](ChildBoot boot) {
    std::array<char, 16> text{};
    const auto bytes = ::pread(boot.payload.get(), text.data(), text.size(), 0);
    std::printf("%.*s, %zd bytes\n", static_cast<int>(bytes), text.data(), bytes);
    return test_child_main(std::move(boot));
  };
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  EXPECT_TRUE(tree.pump_until([&] { return tree.out[ChildIndex{0}] == "hello, 5 bytes\n"; }));
}

TEST(SpawnerTest, WithoutAPayloadAChildHasNone) {
  TestTree::Options options;
  options.sub_main = [](ChildBoot boot) {
    return boot.payload ? 1 : test_child_main(std::move(boot));
  };
  TestTree tree(options);
  EXPECT_TRUE(tree.start());
}

TEST(SpawnerTest, AChildStartsRunsATaskAndEnds) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  const pid_t pid = tree.child().pid();
  EXPECT_GT(pid, 0);
  EXPECT_EQ(tree.spawner().child_pid(ChildIndex{0}), pid);
  tree.run(TestTask::kEmpty);
  EXPECT_TRUE(tree.close().ok());
  ASSERT_TRUE(tree.exits.contains(ChildIndex{0}));
  EXPECT_EQ(tree.exits[ChildIndex{0}].wait_status, 0);
  EXPECT_TRUE(process_ended(pid));
  EXPECT_TRUE(process_ended(tree.spawner().pid()));
}

TEST(SpawnerTest, LinesReachTheParentWhole) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  tree.run(TestTask::kPrint, {3});
  ASSERT_TRUE(tree.close().ok());
  EXPECT_EQ(tree.out[ChildIndex{0}], "line 0 of many\nline 1 of many\nline 2 of many\n");
  EXPECT_EQ(tree.err[ChildIndex{0}], "oops\n");
  EXPECT_EQ(tree.exits[ChildIndex{0}].stderr_tail, "oops\n");
}

TEST(SpawnerTest, MuchOutputArrivesWhole) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  constexpr std::uint64_t kLines = 20'000;
  tree.run(TestTask::kPrint, {kLines});
  ASSERT_TRUE(tree.close().ok());
  const std::string& out = tree.out[ChildIndex{0}];
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), static_cast<std::ptrdiff_t>(kLines));
  EXPECT_THAT(out, HasSubstr("line 19999 of many\n"));
}

TEST(SpawnerTest, AKillReachesAChildThatWasNotAnnouncedYet) {
  TestTree tree;
  tree.spawner().kill(ChildIndex{0});
  ASSERT_TRUE(tree.pump_until([&] { return tree.exits.contains(ChildIndex{0}); }));
  EXPECT_EQ(WTERMSIG(tree.exits[ChildIndex{0}].wait_status), SIGKILL);
}

TEST(SpawnerTest, AMissingExecutableIsReported) {
  TestTree::Options options;
  options.children = 0;
  TestTree tree(options);
  tree.add(ChildKind::kChip);
  ASSERT_TRUE(
      tree.pump_until([&] { return tree.child().start_progress().state == StartState::kFailed; }));
  const StartProgress progress = tree.child().start_progress();
  EXPECT_THAT(progress.error.info().message, HasSubstr("/does/not/exist"));
  EXPECT_EQ(progress.error.info().path, "root/child0");
}

TEST(SpawnerTest, AnExecutedChildIsMarkedAsASpawnersChild) {
  TestTree::Options options;
  options.children = 0;
  options.chip_executable = "/bin/ls";
  TestTree tree(options);
  // ls ends at the first argument that it does not know, and says which it got.
  tree.add(ChildKind::kChip);
  ASSERT_TRUE(tree.pump_until([&] { return tree.exits.contains(ChildIndex{0}); }));
  EXPECT_THAT(tree.err[ChildIndex{0}], HasSubstr("--echelon-child"));
}

TEST(SpawnerTest, AStoppedChildIsKilledAtTheEnd) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  ::kill(tree.child().pid(), SIGSTOP);
  EXPECT_TRUE(tree.close(std::chrono::milliseconds(50)).ok());
  EXPECT_EQ(WTERMSIG(tree.exits[ChildIndex{0}].wait_status), SIGKILL);
}

TEST(SpawnerTest, AnEndlessTaskIsKilledAtTheEnd) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  tree.run(TestTask::kIgnoreSigterm);
  const TaskId task = tree.send(TestTask::kHang);
  ASSERT_TRUE(tree.pump_until([&] { return tree.child().progress(task) == Progress::kTaken; }));
  EXPECT_TRUE(tree.close(std::chrono::milliseconds(50)).ok());
  EXPECT_EQ(WTERMSIG(tree.exits[ChildIndex{0}].wait_status), SIGKILL);
}

TEST(SpawnerTest, ADaemonisedGrandchildDoesNotOutliveItsChild) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  const pid_t left = std::stoi(tree.run(TestTask::kForkDaemon));
  ASSERT_GT(left, 0);
  ASSERT_TRUE(tree.close().ok());
  EXPECT_TRUE(process_ended(left));
}

TEST(SpawnerTest, AGrandchildIsKilledWhenItsChildIs) {
  TestTree::Options options;
  options.children = 2;
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  const pid_t left = std::stoi(tree.run(TestTask::kForkChild));
  ASSERT_GT(left, 0);
  tree.spawner().kill(ChildIndex{0});
  ASSERT_TRUE(tree.pump_until([&] { return tree.gone.contains(ChildIndex{0}); }));
  EXPECT_TRUE(tree.pump_until([&] { return process_ended(left); }));
  tree.run(TestTask::kEmpty, {}, 1);
}

TEST(SpawnerTest, AKilledSpawnerTakesItsChildrenWithIt) {
  TestTree::Options options;
  options.children = 3;
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  const TaskId task = tree.send(TestTask::kHang);
  ASSERT_NE(task, TaskId{});
  ASSERT_EQ(::kill(tree.spawner().pid(), SIGKILL), 0);
  ASSERT_TRUE(tree.pump_until([&] { return tree.gone.size() == 3; }));
  EXPECT_TRUE(tree.spawner().lost());
  EXPECT_EQ(tree.lost.reason(), Reason::kSpawnerLost);
  EXPECT_THAT(tree.lost.info().message, HasSubstr("killed by signal 9 (SIGKILL)"));
  EXPECT_EQ(tree.down[ChildIndex{0}].reason(), Reason::kSpawnerLost);
  for (std::uint32_t i = 0; i < 3; ++i) {
    const pid_t pid = tree.child(i).pid();
    EXPECT_TRUE(tree.pump_until([&] { return process_ended(pid); }));
  }
  EXPECT_TRUE(tree.close().ok());
}

TEST(SpawnerTest, AKilledRootTakesTheWholeTreeWithIt) {
  Grove grove;
  ASSERT_EQ(::kill(grove.root, SIGKILL), 0);
  grove.expect_all_end();
  // A process closes its files a little before it is gone.
  while (!process_ended(grove.spawner) || !process_ended(grove.child) ||
         !process_ended(grove.left_behind)) {
    ::sched_yield();
  }
}

TEST(SpawnerTest, AStoppedSpawnerStillEndsWithItsRoot) {
  Grove grove;
  ASSERT_EQ(::kill(grove.spawner, SIGSTOP), 0);
  ASSERT_EQ(::kill(grove.root, SIGKILL), 0);
  grove.expect_all_end();
}

TEST(SpawnerTest, RequestsAfterTheSpawnerDiedSaySo) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  ASSERT_EQ(::kill(tree.spawner().pid(), SIGKILL), 0);
  ASSERT_TRUE(tree.pump_until([&] { return tree.spawner().lost() && !tree.lost.ok(); }));
  ChildSpec spec;
  spec.index = ChildIndex{7};
  EXPECT_EQ(tree.spawner().spawn(spec, {1, 1, 1}).reason(), Reason::kSpawnerLost);
}

TEST(SpawnerTest, SomebodyElseMayReapIt) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  ::signal(SIGCHLD, SIG_IGN);  // as good as wait(-1) in the user's own thread
  EXPECT_TRUE(tree.close().ok());
}

TEST(SpawnerTest, ADeadlineEndsASpawnerThatDoesNotEnd) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  ASSERT_EQ(::kill(tree.spawner().pid(), SIGSTOP), 0);
  EXPECT_TRUE(tree.spawner().reap_until(tree.env.now_ns() + 1'000'000, tree).ok());
  EXPECT_TRUE(process_ended(tree.spawner().pid()));
}

}  // namespace
}  // namespace echelon
