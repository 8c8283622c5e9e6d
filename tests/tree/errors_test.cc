// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong at a host is told at the root, whole, whether the host is the root itself or
// three processes below it (P1, W5).
#include <echelon/echelon.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "host_at.h"
#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

/// Says in `tensor[index]` which process it is, and stays there until it is killed.
void stay(Task& task, std::size_t index = 0) {
  std::atomic_ref(task.tensor<std::int32_t>(0)[index]).store(::getpid());
  for (;;) ::pause();
}

/// Waits for stay(); then the process that stays.
pid_t staying(const Tensor& tensor, std::size_t index = 0) {
  std::int32_t& word = tensor.data<std::int32_t>()[index];
  EXPECT_TRUE(eventually([&] { return std::atomic_ref(word).load() != 0; }));
  return std::atomic_ref(word).load();
}

class ErrorsAt : public testing::TestWithParam<int> {
 protected:
  std::string sub(int i) { return tree.host_path() + "/sub" + std::to_string(i); }

  HostAt tree{GetParam(), {.level = 3, .sub_workers = 2, .chips = {{"cpu", 0}}}};
  Worker& root = tree.root();
};

INSTANTIATE_TEST_SUITE_P(Levels, ErrorsAt, testing::Values(0, 2), [](const auto& given) {
  return given.param == 0 ? std::string("depth1") : std::string("depth3");
});

// --- what a callable does
// -------------------------------------------------------------------------

TEST_P(ErrorsAt, AnExceptionIsToldWithItsTypeAndText) {
  const SubHandle broken =
      root.register_sub("broken", [](Task&) { throw std::out_of_range("no such row"); });
  const auto body = tree.add([=](Orchestrator& orch, const auto&) {
    orch.submit(broken, {}, {.worker = orch.sub_worker(1)});
  });
  const Error error = thrown<TaskFailed>([&] { tree.run(body); });
  EXPECT_EQ(error.message(), "std::out_of_range: no such row");
  EXPECT_EQ(error.reason(), Reason::kException);
  EXPECT_EQ(error.cause(), Cause::kException);
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.path(), sub(1));
  EXPECT_EQ(error.callable(), "broken");
  EXPECT_EQ(error.pid(), pid_at(root.tree(), sub(1)));
}

TEST_P(ErrorsAt, WhatIsNoExceptionIsToldByItsType) {
  const SubHandle broken = root.register_sub("broken", [](Task&) { throw 42; });
  const auto body = tree.add([=](Orchestrator& orch, const auto&) { orch.submit(broken); });
  const Error error = thrown<TaskFailed>([&] { tree.run(body); });
  EXPECT_EQ(error.message(), "int (not a std::exception)");
  EXPECT_EQ(error.cause(), Cause::kException);
}

TEST_P(ErrorsAt, ASegmentationFaultIsToldWithItsStack) {
  if (sanitized()) GTEST_SKIP() << "the sanitizer handles this signal itself";
  const SubHandle broken = root.register_sub("broken", [](Task& task) {
    auto* nowhere = reinterpret_cast<volatile int*>(task.scalar<std::uintptr_t>(0));
    *nowhere = 1;
  });
  const auto body = tree.add([=](Orchestrator& orch, const auto&) {
    orch.submit(broken, Args().scalar(std::uintptr_t{16}), {.worker = orch.sub_worker(0)});
  });
  const Error error = thrown<ChildLost>([&] { tree.run(body); });
  EXPECT_EQ(error.reason(), Reason::kChildDied);
  EXPECT_EQ(error.cause(), Cause::kSignal);
  EXPECT_EQ(error.info().signal, SIGSEGV);
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.path(), sub(0));
  EXPECT_EQ(error.callable(), "broken");
  EXPECT_GT(error.pid(), 0);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("its process was killed by signal 11 (SIGSEGV)"),
                                     HasSubstr("SIGSEGV at address 0x10")));
  EXPECT_THAT(error.remote_traceback(), HasSubstr("#0 0x"));
}

TEST_P(ErrorsAt, AnAbortIsToldByItsSignal) {
  const SubHandle broken = root.register_sub("broken", [](Task&) { std::abort(); });
  const auto body = tree.add([=](Orchestrator& orch, const auto&) { orch.submit(broken); });
  const Error error = thrown<ChildLost>([&] { tree.run(body); });
  EXPECT_EQ(error.cause(), Cause::kSignal);
  EXPECT_EQ(error.info().signal, SIGABRT);
  EXPECT_THAT(error.message(), HasSubstr("its process was killed by signal 6 (SIGABRT)"));
}

TEST_P(ErrorsAt, AnExitIsToldWithItsCode) {
  const SubHandle broken = root.register_sub("broken", [](Task&) { std::exit(3); });
  const auto body = tree.add([=](Orchestrator& orch, const auto&) { orch.submit(broken); });
  const Error error = thrown<ChildLost>([&] { tree.run(body); });
  EXPECT_EQ(error.reason(), Reason::kChildDied);
  EXPECT_EQ(error.cause(), Cause::kExit);
  EXPECT_EQ(error.info().exit_code, 3);
  EXPECT_EQ(error.callable(), "broken");
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_THAT(error.message(), HasSubstr("its process exited with code 3"));
}

TEST_P(ErrorsAt, AnExitWithoutFailureIsADeathToo) {
  const SubHandle broken = root.register_sub("broken", [](Task&) { ::_exit(0); });
  const auto body = tree.add([=](Orchestrator& orch, const auto&) { orch.submit(broken); });
  const Error error = thrown<ChildLost>([&] { tree.run(body); });
  EXPECT_EQ(error.cause(), Cause::kExit);
  EXPECT_EQ(error.info().exit_code, 0);
  EXPECT_THAT(error.message(), HasSubstr("its process exited with code 0"));
}

TEST_P(ErrorsAt, ARefusedArgumentIsToldWithWhatWasGivenAndWanted) {
  const SubHandle broken =
      root.register_sub("broken", [](Task& task) { task.tensor<const double>(0); });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    orch.submit(broken, Args().input(tensors[0]), {.worker = orch.sub_worker(0)});
  });
  const Error error = thrown<InvalidArgument>([&] { tree.run(body, {root.tensor<float>({4})}); });
  EXPECT_EQ(error.message(), "the tensor is float32[4], and was asked for as float64");
  EXPECT_EQ(error.reason(), Reason::kWrongType);
  EXPECT_EQ(error.cause(), Cause::kRefused);
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.path(), sub(0));
  EXPECT_EQ(error.callable(), "broken");
  EXPECT_EQ(error.pid(), pid_at(root.tree(), sub(0)));
}

TEST_P(ErrorsAt, WritingAnInputIsRefusedInTheCallable) {
  const SubHandle broken = root.register_sub("broken", [](Task& task) { task.tensor<float>(0); });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    orch.submit(broken, Args().input(tensors[0]));
  });
  const Error error = thrown<InvalidArgument>([&] { tree.run(body, {root.tensor<float>({4})}); });
  EXPECT_EQ(error.reason(), Reason::kWrongAccess);
  EXPECT_THAT(error.message(), HasSubstr("the tensor float32[4] may only be read here"));
}

TEST_P(ErrorsAt, AnArgumentThatIsNotThereIsRefusedInTheCallable) {
  const SubHandle broken = root.register_sub("broken", [](Task& task) {
    if (task.scalar_count() == 1) task.scalar<float>(0);
    task.scalar<int>(2);
  });
  const auto none = tree.add([=](Orchestrator& orch, const auto&) { orch.submit(broken); });
  const auto wrong =
      tree.add([=](Orchestrator& orch, const auto&) { orch.submit(broken, Args().scalar(1)); });
  EXPECT_EQ(thrown<InvalidArgument>([&] { tree.run(none); }).message(),
            "scalar 2 of a task that has 0 (tensors are counted apart)");
  EXPECT_EQ(thrown<InvalidArgument>([&] { tree.run(wrong); }).message(),
            "scalar 0 is int32, and was asked for as float32");
}

TEST_P(ErrorsAt, AnExceptionOfTheOrchestrationFunctionIsToldAtItsWorker) {
  const auto body =
      tree.add([](Orchestrator&, const auto&) { throw std::runtime_error("no plan"); });
  const Error error = thrown<TaskFailed>([&] { tree.run(body); });
  EXPECT_EQ(error.message(), "std::runtime_error: no plan");
  EXPECT_EQ(error.path(), tree.host_path());
  EXPECT_EQ(error.pid(), pid_at(root.tree(), tree.host_path()));
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.cause(), Cause::kException);
}

// --- deaths
// ---------------------------------------------------------------------------------------

TEST_P(ErrorsAt, AKilledChildFailsTheTaskItHadTaken) {
  const SubHandle stays = root.register_sub("stays", [](Task& task) { stay(task); });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    orch.submit(stays, Args().inout(tensors[0]), {.worker = orch.sub_worker(1)});
  });
  const Tensor word = root.tensor<std::int32_t>({1});
  const auto run = tree.submit(body, {word});
  const pid_t killed = staying(word);
  ::kill(killed, SIGKILL);
  const Error error = thrown<ChildLost>([&] { run.wait(); });
  EXPECT_EQ(error.reason(), Reason::kChildDied);
  EXPECT_EQ(error.cause(), Cause::kSignal);
  EXPECT_EQ(error.info().signal, SIGKILL);
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.path(), sub(1));
  EXPECT_EQ(error.callable(), "stays");
  EXPECT_EQ(error.pid(), killed);
  EXPECT_THAT(error.message(), HasSubstr("its process was killed by signal 9 (SIGKILL)"));
  EXPECT_THAT(node_at(root.tree(), sub(1)).state, HasSubstr("down: its process was killed"));
}

TEST_P(ErrorsAt, SiblingsOfADeadChildGoOn) {
  const SubHandle stays = root.register_sub("stays", [](Task& task) { stay(task); });
  const SubHandle fill = root.register_sub("fill", [](Task& task) {
    for (std::int32_t& value : task.tensor<std::int32_t>(0)) value = 5;
  });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    orch.submit(stays, Args().inout(tensors[0]), {.worker = orch.sub_worker(0)});
    orch.submit(fill, Args().inout(tensors[1]), {.worker = orch.sub_worker(1)});
  });
  const auto again = tree.add([=](Orchestrator& orch, const auto& tensors) {
    for (int i = 0; i < 20; ++i) orch.submit(fill, Args().inout(tensors[0]));
  });
  const Tensor word = root.tensor<std::int32_t>({1});
  const Tensor filled = root.tensor<std::int32_t>({8});
  const auto run = tree.submit(body, {word, filled});
  ::kill(staying(word), SIGKILL);
  EXPECT_THAT(thrown<ChildLost>([&] { run.wait(); }).others(), IsEmpty());
  EXPECT_THAT(filled.data<const std::int32_t>().span(), Each(5));
  const Tensor more = root.tensor<std::int32_t>({8});
  tree.run(again, {more});  // automatic placement avoids the dead one
  EXPECT_THAT(more.data<const std::int32_t>().span(), Each(5));
}

TEST_P(ErrorsAt, QueuedTasksOfADeadChildGoElsewhere) {
  // One at each sub-worker: the first stays until it is killed, the second until it is told.
  const SubHandle stays = root.register_sub("stays", [](Task& task) { stay(task); });
  const SubHandle waits = root.register_sub("waits", [](Task& task) {
    std::int32_t& go = task.tensor<std::int32_t>(0)[0];
    while (std::atomic_ref(go).load() == 0) ::sched_yield();
  });
  const SubHandle mark =
      root.register_sub("mark", [](Task& task) { task.tensor<std::int32_t>(0)[0] = 7; });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    const auto word = [&](int i) { return Args().inout(tensors[0].slice(0, i, i + 1)); };
    orch.submit(stays, word(0), {.worker = orch.sub_worker(0)});
    orch.submit(waits, word(1), {.worker = orch.sub_worker(1)});
    for (int i = 2; i < 14; ++i) orch.submit(mark, word(i));
  });
  const Tensor words = root.tensor<std::int32_t>({14});
  const auto run = tree.submit(body, {words});
  ::kill(staying(words), SIGKILL);
  std::atomic_ref(words.data<std::int32_t>()[1]).store(1);
  const Error error = thrown<ChildLost>([&] { run.wait(); });
  EXPECT_EQ(error.callable(), "stays");
  EXPECT_THAT(error.others(), IsEmpty());
  EXPECT_THAT(words.slice(0, 2, 14).data<const std::int32_t>().span(), Each(7));
}

TEST_P(ErrorsAt, WhereNoLiveChildCanRunATaskTheErrorSaysSo) {
  const SubHandle dies = root.register_sub("dies", [](Task&) { ::raise(SIGKILL); });
  const SubHandle late = root.register_sub("late", [](Task&) {});
  const auto kill_both = tree.add([=](Orchestrator& orch, const auto&) {
    orch.submit(dies, {}, {.worker = orch.sub_worker(0)});
    orch.submit(dies, {}, {.worker = orch.sub_worker(1)});
  });
  const auto submit_late =
      tree.add([=](Orchestrator& orch, const auto&) { orch.submit(late).wait(); });
  EXPECT_THAT(thrown<ChildLost>([&] { tree.run(kill_both); }).others(), SizeIs(1));
  const Error error = thrown<ChildLost>([&] { tree.run(submit_late); });
  EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
  EXPECT_EQ(error.path(), tree.host_path());
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("no live child of " + tree.host_path() + " can run 'late'"),
                    HasSubstr("sub0 is down: its process was killed by signal 9 (SIGKILL)"),
                    HasSubstr("sub1 is down"), HasSubstr("chip0 runs chip tasks")));
}

TEST_P(ErrorsAt, ATaskThatMustRunAtTheChildThatDiedFailsSayingSo) {
  const SubHandle stays = root.register_sub("stays", [](Task& task) { stay(task); });
  const SubHandle late = root.register_sub("late", [](Task&) {});
  const SubHandle tell = root.register_sub(
      "tell", [](Task& task) { std::atomic_ref(task.tensor<std::int32_t>(0)[0]).store(1); });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    const auto word = [&](int i) { return Args().inout(tensors[0].slice(0, i, i + 1)); };
    orch.submit(stays, word(0), {.worker = orch.sub_worker(1)});
    orch.submit(late, {}, {.worker = orch.sub_worker(1)});
    orch.submit(tell, word(1), {.worker = orch.sub_worker(0)});
  });
  const Tensor words = root.tensor<std::int32_t>({2});
  const auto run = tree.submit(body, {words});
  staying(words, 1);
  ::kill(staying(words), SIGKILL);
  const Error error = thrown<ChildLost>([&] { run.wait(); });
  EXPECT_EQ(error.callable(), "stays");
  ASSERT_THAT(error.others(), SizeIs(1));
  EXPECT_EQ(error.others()[0].callable, "late");
  EXPECT_EQ(error.others()[0].reason, Reason::kNoEligibleChild);
  EXPECT_THAT(error.others()[0].message,
              HasSubstr("'late' must run at " + sub(1) +
                        ", which cannot run it: sub1 is down: its process was killed"));
}

TEST_P(ErrorsAt, AChipThatIsKilledIsNamed) {
  const ChipHandle crash =
      root.register_chip("crash", ChipImage::from_file(ECHELON_TREE_KERNELS, "crash"));
  const auto body = tree.add([=](Orchestrator& orch, const auto&) { orch.submit(crash); });
  const Error error = thrown<ChildLost>([&] { tree.run(body); });
  EXPECT_EQ(error.path(), tree.host_path() + "/chip0");
  EXPECT_EQ(error.callable(), "crash");
  EXPECT_EQ(error.info().signal, SIGKILL);
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_THAT(thrown<ChildLost>([&] { tree.run(body); }).message(),
              HasSubstr("chip0 is down: its process was killed by signal 9"));
}

// --- what follows from an error
// -------------------------------------------------------------------

TEST_P(ErrorsAt, WhatDependsOnAFailedTaskIsNotRun) {
  const SubHandle broken =
      root.register_sub("broken", [](Task&) { throw std::runtime_error("no"); });
  const SubHandle mark =
      root.register_sub("mark", [](Task& task) { task.tensor<std::int32_t>(1)[0] = 1; });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    const Tensor between = orch.alloc<float>({4});
    orch.submit(broken, Args().output(between));
    orch.submit(mark, Args().input(between).inout(tensors[0].slice(0, 0, 1)));
    orch.submit(mark, Args().no_dep(between).inout(tensors[0].slice(0, 1, 2)));
  });
  const Tensor ran = root.tensor<std::int32_t>({2});
  const Error error = thrown<TaskFailed>([&] { tree.run(body, {ran}); });
  EXPECT_EQ(error.message(), "std::runtime_error: no");
  EXPECT_EQ(ran.data<const std::int32_t>()[0], 0);
  EXPECT_EQ(ran.data<const std::int32_t>()[1], 1);
  ASSERT_THAT(error.others(), SizeIs(1));
  EXPECT_EQ(error.others()[0].reason, Reason::kPoisoned);
  EXPECT_EQ(error.others()[0].message, "1 task was not run, because what it depends on failed");
}

TEST_P(ErrorsAt, WaitingForASkippedTaskNamesWhatItDependsOn) {
  const SubHandle broken =
      root.register_sub("broken", [](Task&) { throw std::runtime_error("no"); });
  const SubHandle next = root.register_sub("next", [](Task&) {});
  const auto body = tree.add([=](Orchestrator& orch, const auto&) {
    const TaskHandle first = orch.submit(broken);
    const TaskHandle second = orch.submit(next, {}, {.after = {first}});
    try {
      second.wait();
    } catch (const TaskFailed& error) {
      throw std::runtime_error("seen: " + error.message());
    }
  });
  const Error error = thrown<TaskFailed>([&] { tree.run(body); });
  EXPECT_THAT(std::string(error.what()),
              HasSubstr("seen: 'next' was not run, because it depends on 'broken', which failed "
                        "at " +
                        tree.host_path() + "/sub"));
}

TEST_P(ErrorsAt, TheFirstErrorIsRaisedAndTheOthersListed) {
  const SubHandle broken = root.register_sub("broken", [](Task& task) {
    throw std::runtime_error("number " + std::to_string(task.scalar<int>(0)));
  });
  const auto body = tree.add([=](Orchestrator& orch, const auto&) {
    for (int i = 0; i < 3; ++i) {
      orch.submit(broken, Args().scalar(i), {.worker = orch.sub_worker(0)});
    }
  });
  const Error error = thrown<TaskFailed>([&] { tree.run(body); });
  EXPECT_EQ(error.message(), "std::runtime_error: number 0");
  ASSERT_THAT(error.others(), SizeIs(2));
  EXPECT_EQ(error.others()[0].message, "std::runtime_error: number 1");
  EXPECT_EQ(error.others()[1].message, "std::runtime_error: number 2");
  EXPECT_EQ(error.others()[1].path, sub(0));
  EXPECT_THAT(error.what(), AllOf(HasSubstr("also: "), HasSubstr("number 2")));
}

TEST_P(ErrorsAt, AFailedRunLeavesTheWorkerUsable) {
  const SubHandle sometimes = root.register_sub("sometimes", [](Task& task) {
    std::int32_t& value = task.tensor<std::int32_t>(0)[0];
    if (++value % 2 == 0) throw std::runtime_error("even");
  });
  const auto body = tree.add([=](Orchestrator& orch, const auto& tensors) {
    orch.submit(sometimes, Args().inout(tensors[0]));
  });
  const Tensor count = root.tensor<std::int32_t>({1});
  for (int i = 0; i < 5; ++i) {
    tree.run(body, {count});
    EXPECT_EQ(thrown<TaskFailed>([&] { tree.run(body, {count}); }).message(),
              "std::runtime_error: even");
  }
  EXPECT_EQ(count.data<const std::int32_t>()[0], 10);
}

TEST_P(ErrorsAt, WaitingTwiceGivesTheSameAnswer) {
  const SubHandle broken =
      root.register_sub("broken", [](Task&) { throw std::runtime_error("no"); });
  const auto body = tree.add([=](Orchestrator& orch, const auto&) { orch.submit(broken); });
  const auto run = tree.submit(body);
  const Error first = thrown<TaskFailed>([&] { run.wait(); });
  const Error second = thrown<TaskFailed>([&] { run.wait(); });
  EXPECT_STREQ(first.what(), second.what());
  EXPECT_TRUE(run.done());
}

// --- a next-level Worker that dies
// ----------------------------------------------------------------

class PodErrors : public testing::Test {
 protected:
  PodErrors() {
    pod.add_worker(host0);
    pod.add_worker(host1);
    where = pod.register_orch("where", [](Orchestrator& orch) { return orch.path().back(); });
  }
  char run_at(std::optional<std::size_t> host) {
    return pod.run([&](Orchestrator& orch) {
      const auto worker = host ? std::optional(orch.worker(*host)) : std::nullopt;
      return orch.submit(where, {}, {.worker = worker}).result<char>();
    });
  }

  Worker pod{{.level = 4}};
  Worker host0{{.level = 3, .name = "host0", .sub_workers = 2, .chips = {{"cpu", 0}}}};
  Worker host1{{.level = 3, .name = "host1", .sub_workers = 1}};
  OrchHandle where;
};

TEST_F(PodErrors, AKilledHostTakesItsSubtreeWithItAndTheParentSaysSo) {
  const SubHandle stays = pod.register_sub("stays", [](Task& task) { stay(task); });
  const OrchHandle hold = pod.register_orch("hold", [=](Orchestrator& orch, TaskArgs& args) {
    orch.submit(stays, Args().inout(args.handle(0)));
  });
  const Tensor word = pod.tensor<std::int32_t>({1});
  const auto run = pod.submit([&](Orchestrator& orch) {
    orch.submit(hold, Args().inout(word), {.worker = orch.worker(0)});
  });
  staying(word);
  const pid_t host = pid_at(pod.tree(), "pod0/host0");
  const ProcessSet below = watch_descendants_of(host);
  ASSERT_GE(below.size(), 4u);  // its spawner, two sub-workers, a chip
  ::kill(host, SIGKILL);

  const Error error = thrown<ChildLost>([&] { run.wait(); });
  EXPECT_EQ(error.path(), "pod0/host0");
  EXPECT_EQ(error.callable(), "hold");
  EXPECT_EQ(error.pid(), host);
  EXPECT_EQ(error.info().signal, SIGKILL);
  EXPECT_EQ(error.cause(), Cause::kSignal);
  EXPECT_EQ(error.reason(), Reason::kChildDied);
  EXPECT_THAT(below.left_after(kGoneWithin), IsEmpty());
}

TEST_F(PodErrors, WorkGoesToTheHostThatLives) {
  pod.start();
  ::kill(pid_at(pod.tree(), "pod0/host0"), SIGKILL);
  const Error error = thrown<ChildLost>([&] {
    for (;;) run_at(0);
  });
  EXPECT_THAT(error.what(), HasSubstr("pod0/host0"));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(run_at(std::nullopt), '1');
  const Error later = thrown<ChildLost>([&] { run_at(0); });
  EXPECT_EQ(later.reason(), Reason::kNoEligibleChild);
  EXPECT_THAT(later.message(),
              HasSubstr("'where' must run at pod0/host0, which cannot run it: host0 is down: its "
                        "process was killed by signal 9 (SIGKILL)"));
}

TEST_F(PodErrors, AHostWhoseSpawnerIsKilledSaysSo) {
  pod.start();
  const pid_t host = pid_at(pod.tree(), "pod0/host0");
  const ProcessSet below = watch_descendants_of(host);
  pid_t spawner = 0;
  for (const pid_t pid : descendants_of(host)) {
    if (name_of(pid) == "spawner") spawner = pid;
  }
  ASSERT_GT(spawner, 0);
  ::kill(spawner, SIGKILL);
  const Error error = thrown<ChildLost>([&] {
    for (;;) run_at(0);
  });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("pod0/host0"), HasSubstr("spawner lost")));
  EXPECT_THAT(below.left_after(kGoneWithin), IsEmpty());
  EXPECT_EQ(run_at(std::nullopt), '1');
}

TEST_F(PodErrors, ARootWhoseSpawnerIsKilledFailsEveryRunUntilItIsStartedAgain) {
  pod.start();
  const ProcessSet below = watch_descendants_of(::getpid());
  for (const pid_t pid : descendants_of(::getpid())) {
    if (name_of(pid) == "spawner") {
      ::kill(pid, SIGKILL);
      break;  // the first of them: the root's own
    }
  }
  const Error error = thrown<ChildLost>([&] {
    for (;;) run_at(std::nullopt);
  });
  EXPECT_THAT(error.what(), HasSubstr("spawner lost"));
  EXPECT_THAT(below.left_after(kGoneWithin), IsEmpty());
  EXPECT_EQ(thrown<ChildLost>([&] { run_at(std::nullopt); }).reason(), Reason::kSpawnerLost);
  pod.close();
  pod.start();
  EXPECT_EQ(run_at(0), '0');
}

}  // namespace
}  // namespace echelon::tree_test
