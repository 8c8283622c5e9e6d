// SPDX-License-Identifier: Apache-2.0
//
// How trees begin and end: start and close in every order, children that do not want to end,
// children that cannot start, and kill -9 of any process (W6, W9, P2). How long an end took is
// printed; what is left afterwards is asserted.
#include <echelon/echelon.h>
#include <gmock/gmock.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "host_at.h"
#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Clock = std::chrono::steady_clock;

template <class Call>
void measured(const char* what, Call&& call) {
  const auto began = Clock::now();
  std::forward<Call>(call)();
  std::printf("measured: %s took %.1f ms\n", what,
              std::chrono::duration<double, std::milli>(Clock::now() - began).count());
}

int call(Worker& worker, SubHandle sub) {
  return worker.run([&](Orchestrator& orch) { return orch.submit(sub).result<int>(); });
}

// --- start and close
// ------------------------------------------------------------------------------

class Life : public testing::Test {
 protected:
  Worker host{{.level = 3, .sub_workers = 1}};
  SubHandle seven = host.register_sub("seven", [](Task&) { return 7; });
};

TEST_F(Life, RunStartsTheTree) {
  EXPECT_FALSE(host.started());
  EXPECT_EQ(call(host, seven), 7);
  EXPECT_TRUE(host.started());
}

TEST_F(Life, SubmitStartsTheTree) {
  host.submit([&](Orchestrator& orch) { orch.submit(seven); }).wait();
  EXPECT_TRUE(host.started());
}

TEST_F(Life, CloseBeforeStartIsLegalAndStartAfterItToo) {
  host.close();
  host.close();
  host.start();
  EXPECT_EQ(call(host, seven), 7);
}

TEST_F(Life, CloseTwiceIsAsOnce) {
  host.start();
  const ProcessSet below = watch_descendants_of(::getpid());
  EXPECT_GE(below.size(), 2u);
  host.close();
  EXPECT_THAT(below.left(), IsEmpty());
  EXPECT_FALSE(host.started());
  host.close();
}

TEST_F(Life, AClosedTreeCanBeStartedAgain) {
  for (int i = 0; i < 3; ++i) {
    host.start();
    EXPECT_EQ(call(host, seven), 7);
    host.close();
    EXPECT_THAT(descendants_of(::getpid()), IsEmpty());
  }
}

TEST_F(Life, CallablesMayBeRegisteredBetweenCloseAndStart) {
  host.start();
  host.close();
  const SubHandle eight = host.register_sub("eight", [](Task&) { return 8; });
  host.start();
  EXPECT_EQ(call(host, seven), 7);
  EXPECT_EQ(call(host, eight), 8);
}

TEST_F(Life, TheDestructorCloses) {
  ProcessSet below;
  {
    Worker other({.level = 3, .sub_workers = 2});
    other.start();
    below = watch_descendants_of(::getpid());
    EXPECT_GE(below.size(), 3u);
  }
  EXPECT_THAT(below.left(), IsEmpty());
}

TEST_F(Life, CloseEndsARunThatIsInFlight) {
  Worker other({.level = 3, .sub_workers = 1});
  const SubHandle waits = other.register_sub("waits", [](Task& task) {
    while (!task.cancelled()) ::sched_yield();
  });
  const auto run = other.submit([&](Orchestrator& orch) { orch.submit(waits); });
  other.close();
  EXPECT_TRUE(run.done());
  EXPECT_THAT(thrown<Cancelled>([&] { run.wait(); }).message(), HasSubstr("host0 was closed"));
}

TEST_F(Life, TensorsOutliveTheTree) {
  const Tensor x = host.tensor<int>({4});
  host.start();
  x.data<int>()[3] = 5;
  host.close();
  EXPECT_EQ(x.data<const int>()[3], 5);
  host.start();
  const Tensor y = host.tensor<int>({4});
  host.run([&](Orchestrator& orch) { orch.copy(y, x); });
  EXPECT_EQ(y.data<const int>()[3], 5);
}

TEST_F(Life, AMovedWorkerGoesOn) {
  host.start();
  Worker moved = std::move(host);
  EXPECT_EQ(call(moved, seven), 7);
}

TEST_F(Life, WhatAChildPrintsArrivesHere) {
  const SubHandle prints = host.register_sub("prints", [](Task&) { std::puts("from the sub"); });
  testing::internal::CaptureStdout();
  host.run([&](Orchestrator& orch) { orch.submit(prints); });
  host.close();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "from the sub\n");
}

// --- nothing is left
// ------------------------------------------------------------------------------

std::vector<std::string> open_descriptors() {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (gone || target.find("/proc/") == 0) continue;  // the one of this look
    found.push_back(entry.path().filename().string() + " -> " + target);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::size_t mapped_segments() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("echelon-") != std::string::npos) ++count;
  }
  return count;
}

std::size_t thread_count() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
    ++count;
  return count;
}

TEST(NothingIsLeft, AfterFiveStartsAndCloses) {
  const auto descriptors = open_descriptors();
  const std::size_t threads = thread_count();
  const std::size_t segments = mapped_segments();
  {
    Worker pod({.level = 4, .sub_workers = 1});
    Worker host({.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}}});
    pod.add_worker(host);
    const SubHandle sub = pod.register_sub("sub", [](Task& task) { task.tensor<float>(0)[0] = 1; });
    const OrchHandle orch_fn = pod.register_orch("orch", [=](Orchestrator& orch, TaskArgs& args) {
      orch.submit(sub, Args().output(args.handle(0)));
    });
    for (int i = 0; i < 5; ++i) {
      pod.start();
      const Tensor x = pod.tensor<float>({1024});
      pod.run([&](Orchestrator& orch) { orch.submit(orch_fn, Args().output(x)); });
      pod.close();
    }
  }
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(thread_count(), threads);
  EXPECT_EQ(mapped_segments(), segments);
  EXPECT_THAT(descendants_of(::getpid()), IsEmpty());
}

TEST(NothingIsLeft, ATreeHasNoNamesInSharedMemory) {
  Worker host({.level = 3, .sub_workers = 1});
  const Tensor x = host.tensor<float>({1 << 16});
  host.start();
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    EXPECT_THAT(entry.path().string(), Not(HasSubstr("echelon")));
  }
}

TEST(NothingIsLeft, OfWhatACallableForkedAndLeftBehind) {
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle forks = host.register_sub("forks", [](Task&) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      for (;;) ::pause();
    }
    return static_cast<int>(pid);
  });
  ProcessSet left_behind;
  const int pid = call(host, forks);
  left_behind.add(pid);
  ASSERT_EQ(left_behind.size(), 1u);
  host.close();
  EXPECT_THAT(left_behind.left_after(kGoneWithin), IsEmpty());
}

// --- children that do not want to end
// -------------------------------------------------------------

/// Each way not to end; the task says that it has begun.
class Unwilling : public testing::TestWithParam<std::string> {
 protected:
  static void resist(TaskArgs& task, const std::string& how) {
    ::signal(SIGTERM, SIG_IGN);
    std::atomic_ref(task.tensor<std::int32_t>(0)[0]).store(::getpid());
    if (how == "stopped") ::raise(SIGSTOP);
    for (std::atomic<bool> never{false}; !never.load();) {
      if (how != "spinning") ::pause();
    }
  }
  void expect_closed(Worker& root,
                     const std::function<void(Orchestrator&, const Tensor&)>& submit) {
    const Tensor word = root.tensor<std::int32_t>({1});
    const auto run = root.submit([&](Orchestrator& orch) { submit(orch, word); });
    ASSERT_TRUE(
        eventually([&] { return std::atomic_ref(word.data<std::int32_t>()[0]).load() != 0; }));
    const ProcessSet below = watch_descendants_of(::getpid());
    const auto began = Clock::now();
    measured("close()", [&] { root.close(); });
    EXPECT_LT(Clock::now() - began, 5s);  // W9 promises it
    EXPECT_THAT(below.left(), IsEmpty());
    EXPECT_TRUE(run.done());
    EXPECT_EQ(thrown<Cancelled>([&] { run.wait(); }).reason(), Reason::kCancelled);
  }
};
INSTANTIATE_TEST_SUITE_P(Ways, Unwilling, testing::Values("spinning", "sleeping", "stopped"),
                         [](const auto& given) { return given.param; });

TEST_P(Unwilling, ASubWorkerEndsWithClose) {
  Worker host({.level = 3, .sub_workers = 2});
  const SubHandle resists =
      host.register_sub("resists", [how = GetParam()](Task& task) { resist(task, how); });
  expect_closed(host, [&](Orchestrator& orch, const Tensor& word) {
    orch.submit(resists, Args().inout(word));
  });
}

TEST_P(Unwilling, AWaitForItsTaskSaysWhoWasClosed) {
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle resists =
      host.register_sub("resists", [how = GetParam()](Task& task) { resist(task, how); });
  const Tensor word = host.tensor<std::int32_t>({1});
  std::string said;
  std::thread waiting([&] {
    try {
      host.run([&](Orchestrator& orch) {
        const TaskHandle task = orch.submit(resists, Args().inout(word));
        try {
          task.wait();
        } catch (const Cancelled& error) {
          said = error.message();
        }
      });
    } catch (const Cancelled&) {}
  });
  EXPECT_TRUE(
      eventually([&] { return std::atomic_ref(word.data<std::int32_t>()[0]).load() != 0; }));
  host.close();
  waiting.join();
  EXPECT_EQ(said, "host0 was closed");
}

TEST_P(Unwilling, ASubWorkerThreeLevelsBelowEndsWithClose) {
  HostAt tree(3, {.level = 3, .sub_workers = 1});
  const SubHandle resists =
      tree.root().register_sub("resists", [how = GetParam()](Task& task) { resist(task, how); });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    orch.submit(resists, Args().inout(tensors[0]));
  });
  tree.start();
  const Tensor word = tree.root().tensor<std::int32_t>({1});
  const auto run = tree.submit(body, {word});
  ASSERT_TRUE(
      eventually([&] { return std::atomic_ref(word.data<std::int32_t>()[0]).load() != 0; }));
  const ProcessSet below = watch_descendants_of(::getpid());
  const auto began = Clock::now();
  measured("close()", [&] { tree.root().close(); });
  EXPECT_LT(Clock::now() - began, 5s);
  EXPECT_THAT(below.left(), IsEmpty());
  EXPECT_TRUE(run.done());
}

TEST_P(Unwilling, ANextLevelWorkerEndsWithClose) {
  Worker pod({.level = 4});
  Worker host({.level = 3, .sub_workers = 2});
  pod.add_worker(host);
  const OrchHandle resists = pod.register_orch(
      "resists", [how = GetParam()](Orchestrator&, TaskArgs& args) { resist(args, how); });
  expect_closed(pod, [&](Orchestrator& orch, const Tensor& word) {
    orch.submit(resists, Args().inout(word));
  });
}

// --- children that cannot start
// -------------------------------------------------------------------

TEST(CannotStart, AnUnknownDriverIsToldInTheChipsOwnWordsAndNothingIsLeft) {
  Worker host({.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}, {"warp9", 0}}});
  const Error error = thrown<StartFailed>([&] { host.start(); });
  EXPECT_EQ(error.reason(), Reason::kStartFailed);
  EXPECT_EQ(error.path(), "host0/chip1");
  EXPECT_GT(error.pid(), 0);
  EXPECT_THAT(error.message(), HasSubstr("warp9"));
  EXPECT_FALSE(host.started());
  EXPECT_THAT(descendants_of(::getpid()), IsEmpty());
}

TEST(CannotStart, DeepInTheTreeItIsToldAtTheTop) {
  HostAt tree(2, {.level = 3, .sub_workers = 1, .chips = {{"warp9", 0}}});
  const Error error = thrown<StartFailed>([&] { tree.start(); });
  EXPECT_EQ(error.path(), "w5/w4/host0/chip0");
  EXPECT_THAT(error.message(), HasSubstr("warp9"));
  EXPECT_THAT(descendants_of(::getpid()), IsEmpty());
}

TEST(CannotStart, CloseAfterAFailedStartIsLegalAndASecondStartSaysTheSame) {
  Worker host({.level = 3, .chips = {{"warp9", 0}}});
  const Error first = thrown<StartFailed>([&] { host.start(); });
  host.close();
  const Error second = thrown<StartFailed>([&] { host.start(); });
  EXPECT_EQ(first.message(), second.message());
  EXPECT_THAT(descendants_of(::getpid()), IsEmpty());
}

TEST(CannotStart, ASecondStartSucceedsOnceTheCauseIsGone) {
  ::setenv("ECHELON_DRIVER_PATH", "/nonexistent", 1);
  Worker host({.level = 3, .sub_workers = 1, .chips = {{"absent", 0}}});
  thrown<StartFailed>([&] { host.start(); });
  // The same driver under the name that was asked for.
  const auto folder =
      std::filesystem::temp_directory_path() / ("echelon-drivers-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::filesystem::create_symlink(ECHELON_TREE_CPU_DRIVER, folder / "libechelon_driver_absent.so");
  ::setenv("ECHELON_DRIVER_PATH", folder.c_str(), 1);
  host.start();
  EXPECT_EQ(node_at(host.tree(), "host0/chip0").state, "ready");
  std::filesystem::remove_all(folder);
}

TEST(CannotStart, RunRaisesTheStartsError) {
  Worker host({.level = 3, .chips = {{"warp9", 0}}});
  EXPECT_THAT(thrown<StartFailed>([&] { host.run([](Orchestrator&) {}); }).message(),
              HasSubstr("warp9"));
}

TEST(CannotStart, WhatIsNotReadyInTimeIsNamed) {
  Worker host({.level = 3, .chips = {{"cpu", 0}}, .start_deadline = 200ms});
  // Loading it never ends.
  const char* source =
      "#include <echelon/chip_kernel.h>\n"
      "#include <unistd.h>\n"
      "const int never = [] { for (;;) ::pause(); return 0; }();\n"
      "ECHELON_KERNEL(empty) {}\n";
  host.register_chip("never", ChipImage::from_source(source, "empty"));
  const Error error = thrown<StartFailed>([&] { host.start(); });
  EXPECT_THAT(error.message(), HasSubstr("host0/chip0"));
  EXPECT_THAT(descendants_of(::getpid()), IsEmpty());
}

// --- kill -9
// --------------------------------------------------------------------------------------

/// A whole tree in a process of its own, so that its root can be killed.
class Killed : public testing::Test {
 protected:
  Killed() : root([](const ForkedProcess::Ready& ready) { be_a_tree(ready); }) {
    // Orphans come here and not to a process that might not reap them.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  ~Killed() override {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {}
  }
  static void be_a_tree(const ForkedProcess::Ready& ready) {
    Worker pod({.level = 4, .sub_workers = 1});
    Worker host0({.level = 3, .name = "host0", .sub_workers = 1, .chips = {{"cpu", 0}}});
    Worker host1({.level = 3, .name = "host1", .sub_workers = 1});
    pod.add_worker(host0);
    pod.add_worker(host1);
    const SubHandle busy = pod.register_sub("busy", [](Task&) {
      for (std::atomic<bool> never{false}; !never.load();) {}
    });
    pod.start();
    const auto run = pod.submit([&](Orchestrator& orch) { orch.submit(busy); });
    ready();
    for (;;) ::pause();
  }
  std::vector<pid_t> named(const std::string& name) {
    std::vector<pid_t> found;
    for (const pid_t pid : descendants_of(root.pid())) {
      if (name_of(pid) == name) found.push_back(pid);
    }
    return found;
  }

  ForkedProcess root;
};

TEST_F(Killed, TheRootTakesTheWholeTreeWithIt) {
  ASSERT_TRUE(root.wait_until_ready());
  const ProcessSet below = watch_descendants_of(root.pid());
  ASSERT_EQ(below.size(), 9u);  // three spawners, two hosts, three sub-workers, a chip
  ::kill(root.pid(), SIGKILL);
  measured("the end of the tree", [&] { EXPECT_THAT(below.left_after(kGoneWithin), IsEmpty()); });
}

TEST_F(Killed, AStoppedTreeGoesWithItsRootToo) {
  ASSERT_TRUE(root.wait_until_ready());
  const ProcessSet below = watch_descendants_of(root.pid());
  for (const pid_t pid : descendants_of(root.pid())) {
    if (name_of(pid) != "spawner") ::kill(pid, SIGSTOP);
  }
  ::kill(root.pid(), SIGKILL);
  EXPECT_THAT(below.left_after(kGoneWithin), IsEmpty());
}

TEST_F(Killed, TheRootsSpawnerTakesItsChildrenWithIt) {
  ASSERT_TRUE(root.wait_until_ready());
  const ProcessSet below = watch_descendants_of(root.pid());
  const auto spawners = named("spawner");
  ASSERT_EQ(spawners.size(), 3u);
  ::kill(spawners.front(), SIGKILL);  // the first that was found is the root's own
  EXPECT_THAT(below.left_after(kGoneWithin), IsEmpty());
  EXPECT_EQ(::kill(root.pid(), 0), 0) << "the root itself lives";
}

TEST_F(Killed, AHostsSpawnerTakesTheHostWithIt) {
  ASSERT_TRUE(root.wait_until_ready());
  const auto spawners = named("spawner");
  ASSERT_EQ(spawners.size(), 3u);
  const ProcessSet below = watch_descendants_of(spawners.back());
  ASSERT_GE(below.size(), 1u);
  ::kill(spawners.back(), SIGKILL);
  EXPECT_THAT(below.left_after(kGoneWithin), IsEmpty());
  EXPECT_TRUE(eventually([&] { return named("spawner").size() == 2; }, kGoneWithin));
  EXPECT_FALSE(descendants_of(root.pid()).empty()) << "the rest of the tree lives";
}

// --- a process that the program forks
// -------------------------------------------------------------

class ForkedByTheUser : public Life {
 protected:
  /// 0 where `body` saw what it should.
  int in_a_fork(const std::function<bool()>& body) {
    ForkedProcess fork([&](const ForkedProcess::Ready&) { ::_exit(body() ? 0 : 1); });
    return fork.wait_for_exit();
  }
  template <class Call>
  static bool refused(Call&& call, const char* words) {
    try {
      call();
    } catch (const WrongState& error) {
      return error.message().find(words) != std::string::npos;
    } catch (...) {}
    return false;
  }
};

TEST_F(ForkedByTheUser, AWorkerIsInertThere) {
  host.start();
  const char* words = "belongs to the process that this one was forked from";
  EXPECT_EQ(in_a_fork([&] {
              host.close();
              return refused([&] { host.start(); }, words) &&
                     refused([&] { host.run([](Orchestrator&) {}); }, words) &&
                     refused([&] { host.tensor<float>({1}); }, words) &&
                     refused([&] { host.register_sub("x", [](Task&) {}); }, words) &&
                     refused([&] { host.started(); }, words) &&
                     refused([&] { host.tree(); }, words);
            }),
            0);
  EXPECT_EQ(call(host, seven), 7);
}

TEST_F(ForkedByTheUser, ItsDestructorDoesNothingThere) {
  auto other = std::make_unique<Worker>(WorkerOptions{.level = 3, .sub_workers = 1});
  const SubHandle eight = other->register_sub("eight", [](Task&) { return 8; });
  other->start();
  const Tensor x = other->tensor<int>({4});
  EXPECT_EQ(in_a_fork([&] {
              other.reset();
              return true;
            }),
            0);
  EXPECT_EQ(call(*other, eight), 8);
}

TEST_F(ForkedByTheUser, AnExitThereHarmsNothing) {
  host.start();
  ForkedProcess fork([](const ForkedProcess::Ready&) { std::exit(0); });
  EXPECT_EQ(fork.wait_for_exit(), 0);
  EXPECT_EQ(call(host, seven), 7);
}

TEST_F(ForkedByTheUser, ItMayHaveAWorkerOfItsOwn) {
  host.start();
  EXPECT_EQ(in_a_fork([] {
              Worker own({.level = 3, .sub_workers = 1});
              const SubHandle nine = own.register_sub("nine", [](Task&) { return 9; });
              const bool right = call(own, nine) == 9;
              own.close();
              return right;
            }),
            0);
  EXPECT_EQ(call(host, seven), 7);
}

TEST_F(ForkedByTheUser, RunsAndTensorsOfTheOtherProcessAreRefused) {
  const Tensor x = host.tensor<float>({4});
  const auto run = host.submit([&](Orchestrator& orch) { orch.submit(seven); });
  EXPECT_EQ(in_a_fork([&] {
              bool tensor_refused = false;
              try {
                x.data<float>();
              } catch (const Error& error) {
                tensor_refused = error.reason() == Reason::kForeignHandle;
              }
              const bool run_refused =
                  run.done() || refused([&] { run.wait(); }, "belongs to another process");
              return tensor_refused && run_refused;
            }),
            0);
  run.wait();
}

}  // namespace
}  // namespace echelon::tree_test
