// SPDX-License-Identifier: Apache-2.0
//
// Runs: several in flight, waited for, cancelled, nested; and what a task handle answers (H4, P1).
#include <echelon/echelon.h>
#include <gmock/gmock.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "shared_words.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

using Text = std::array<char, 80>;
/// testing::Test has a member called Run.
using RunHandle = ::echelon::Run;

void expect_no_lost_wakeups(const NodeInfo& node) {
  EXPECT_EQ(node.lost_wakeups, 0u) << node.path;
  for (const NodeInfo& child : node.children) expect_no_lost_wakeups(child);
}

class Runs : public testing::Test {
 protected:
  Runs() {
    twice = host.register_sub("twice", [](Task& task) { return 2 * task.scalar<int>(0); });
    fail = host.register_sub("fail", [](Task&) { throw std::runtime_error("it fails"); });
    hold = host.register_sub("hold", [this](Task&) {
      words[kHeld] = 1;
      words.wait_for(kGo);
    });
    until_cancelled = host.register_sub("until_cancelled", [this](Task& task) {
      words[kHeld] = 1;
      if (eventually([&] { return task.cancelled(); })) words[kSawCancel] = 1;
    });
    note = host.register_sub("note", [this](Task&) { ++words[kNoted]; });
    large_result = host.register_sub("large_result", [](Task& task) {
      task.set_result_bytes(std::vector<std::byte>(kResultBytesMax));
    });
    where = host.register_sub("where", [](Task& task) {
      Text text{};
      task.config().scope.copy(text.data(), text.size() - 1);
      return text;
    });
  }
  void TearDown() override {
    if (host.started()) expect_no_lost_wakeups(host.tree());
  }
  /// A run whose one task is running, until go() or its cancel.
  RunHandle held(SubHandle task) {
    RunHandle run = host.submit([&](Orchestrator& orch) { orch.submit(task); });
    words.wait_for(kHeld);
    return run;
  }
  void go() { words[kGo] = 1; }

  static constexpr std::size_t kGo = 0, kHeld = 1, kSawCancel = 2, kNoted = 3, kMeet = 8;
  SharedWords words;
  Worker host{{.level = 3, .sub_workers = 2}};
  SubHandle twice, fail, hold, until_cancelled, note, where, large_result;
};

// --- several of them
// ------------------------------------------------------------------------------

TEST_F(Runs, OneAfterAnotherOnOneWorker) {
  for (int i = 0; i < 200; ++i) {
    const int got = host.run(
        [&](Orchestrator& orch) { return orch.submit(twice, Args().scalar(i)).result<int>(); });
    ASSERT_EQ(got, 2 * i);
  }
}

TEST_F(Runs, FromSeveralThreadsAtOnce) {
  host.start();
  std::vector<std::thread> threads;
  std::array<int, 4> wrong{};
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const int value = static_cast<int>(t) * 1000 + i;
        const int got = host.run([&](Orchestrator& orch) {
          return orch.submit(twice, Args().scalar(value)).result<int>();
        });
        if (got != 2 * value) ++wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, testing::Each(0));
}

TEST_F(Runs, SubmittedOneAfterAnotherRunSideBySide) {
  const SubHandle meet = host.register_sub("meet", [this](Task& task) {
    const auto mine = task.scalar<std::uint32_t>(0);
    words[kMeet + mine] = 1;
    words.wait_for(kMeet + 1 - mine);
  });
  std::vector<RunHandle> runs;
  for (std::uint32_t i = 0; i < 2; ++i) {
    runs.push_back(host.submit([&](Orchestrator& orch) { orch.submit(meet, Args().scalar(i)); }));
  }
  for (const RunHandle& run : runs) run.wait();
}

TEST_F(Runs, AFailureOfOneIsNotToldInAnother) {
  const RunHandle good = held(hold);
  EXPECT_THROW(host.run([&](Orchestrator& orch) { orch.submit(fail); }), TaskFailed);
  go();
  good.wait();
}

TEST_F(Runs, ManyInFlightAllEnd) {
  std::vector<RunHandle> runs;
  for (int i = 0; i < 300; ++i) {
    runs.push_back(host.submit([&](Orchestrator& orch) {
      for (int task = 0; task < 5; ++task) orch.submit(note);
    }));
  }
  for (const RunHandle& run : runs) run.wait();
  EXPECT_EQ(words[kNoted], 1500);
}

// --- waiting
// --------------------------------------------------------------------------------------

TEST_F(Runs, WaitingAgainGivesTheSameAnswer) {
  const RunHandle run = host.submit(
      [&](Orchestrator& orch) { return orch.submit(twice, Args().scalar(4)).result<int>(); });
  run.wait();
  run.wait();
  EXPECT_EQ(run.result<int>(), 8);
  EXPECT_EQ(run.result<int>(), 8);
}

TEST_F(Runs, SeveralThreadsWaitForOne) {
  const RunHandle run = held(hold);
  std::vector<std::thread> threads;
  std::atomic<int> returned{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, copy = run] {
      copy.wait();
      ++returned;
    });
  }
  EXPECT_EQ(returned, 0);
  go();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(returned, 4);
}

TEST_F(Runs, WaitUntilIsFalseBeforeTheEndAndTrueAfterIt) {
  const RunHandle run = held(hold);
  EXPECT_FALSE(run.wait_for(2ms));
  EXPECT_FALSE(run.wait_until(std::chrono::steady_clock::now()));
  EXPECT_FALSE(run.wait_until(std::chrono::steady_clock::time_point{}));
  EXPECT_FALSE(run.done());
  go();
  EXPECT_TRUE(run.wait_for(kPatience));
  EXPECT_TRUE(run.wait_until(std::chrono::steady_clock::time_point{}));
  EXPECT_TRUE(run.done());
}

TEST_F(Runs, WaitUntilOfAFailedRunIsTrueAndDoesNotThrow) {
  const RunHandle run = host.submit([&](Orchestrator& orch) { orch.submit(fail); });
  EXPECT_TRUE(run.wait_for(kPatience));
  EXPECT_TRUE(run.done());
  EXPECT_THROW(run.wait(), TaskFailed);
}

TEST_F(Runs, EndThoughNobodyWaits) {
  const RunHandle run = host.submit([&](Orchestrator& orch) {
    for (int i = 0; i < 100; ++i) orch.submit(note);
  });
  EXPECT_TRUE(eventually([&] { return run.done(); }));
  EXPECT_EQ(words[kNoted], 100);
}

TEST_F(Runs, GoOnWhereTheHandleIsDropped) {
  (void)host.submit([&](Orchestrator& orch) {
    for (int i = 0; i < 100; ++i) orch.submit(note);
  });
  EXPECT_TRUE(eventually([&] { return words[kNoted] == 100; }));
}

TEST_F(Runs, AnEmptyHandleIsRefused) {
  EXPECT_EQ(thrown<InvalidArgument>([] { RunHandle().wait(); }).message(),
            "this Run is empty; Worker::submit() makes them");
}

TEST_F(Runs, AResultOfAnotherSizeIsRefused) {
  const RunHandle run = host.submit([](Orchestrator&) { return std::int64_t{1}; });
  EXPECT_EQ(thrown<InvalidArgument>([&] { (void)run.result<char>(); }).message(),
            "the result has 8 bytes, and was asked for as a type of 1");
}

TEST_F(Runs, AHandleAnswersAfterTheWorkerIsClosed) {
  const RunHandle good = host.submit([](Orchestrator&) { return 17; });
  const RunHandle bad = host.submit([&](Orchestrator& orch) { orch.submit(fail); });
  good.wait();
  (void)bad.wait_for(kPatience);
  host.close();
  EXPECT_EQ(good.result<int>(), 17);
  EXPECT_EQ(thrown<TaskFailed>([&] { bad.wait(); }).message(), "std::runtime_error: it fails");
}

TEST_F(Runs, ClosingEndsWhatIsInFlight) {
  const RunHandle run = held(until_cancelled);
  host.close();
  EXPECT_TRUE(run.done());
  EXPECT_THROW(run.wait(), Error);
}

// --- cancelling
// -----------------------------------------------------------------------------------

TEST_F(Runs, ACancelIsSeenByTheRunningTaskAndEndsTheRun) {
  const RunHandle run = held(until_cancelled);
  run.cancel();
  const Error error = thrown<Cancelled>([&] { run.wait(); });
  EXPECT_EQ(error.reason(), Reason::kCancelled);
  EXPECT_EQ(error.cause(), Cause::kCancelled);
  EXPECT_EQ(words[kSawCancel], 1);
}

TEST_F(Runs, QueuedTasksOfACancelledRunAreNotRun) {
  const Tensor x = host.tensor<int>({1});
  const RunHandle run = host.submit([&](Orchestrator& orch) {
    orch.submit(until_cancelled, Args().inout(x));
    for (int i = 0; i < 100; ++i) orch.submit(note, Args().inout(x));
  });
  words.wait_for(kHeld);
  run.cancel();
  EXPECT_THROW(run.wait(), Cancelled);
  EXPECT_EQ(words[kNoted], 0);
}

TEST_F(Runs, FramesThatAChildHasNotTakenAreRecalledByACancel) {
  const RunHandle run = host.submit([&](Orchestrator& orch) {
    orch.submit(until_cancelled, {}, {.worker = orch.sub_worker(0)});
    for (int i = 0; i < 100; ++i) orch.submit(note, {}, {.worker = orch.sub_worker(0)});
  });
  words.wait_for(kHeld);
  run.cancel();
  EXPECT_THROW(run.wait(), Cancelled);
  EXPECT_EQ(words[kNoted], 0);
}

TEST_F(Runs, ACancelOfOneLeavesTheOthers) {
  const RunHandle cancelled = held(until_cancelled);
  const RunHandle other = host.submit([&](Orchestrator& orch) { orch.submit(note); });
  cancelled.cancel();
  other.wait();
  EXPECT_THROW(cancelled.wait(), Cancelled);
  EXPECT_EQ(words[kNoted], 1);
}

TEST_F(Runs, ACancelAfterTheEndDoesNothing) {
  const RunHandle run = host.submit([](Orchestrator&) { return 5; });
  run.wait();
  run.cancel();
  EXPECT_EQ(run.result<int>(), 5);
}

// --- orchestration functions
// ----------------------------------------------------------------------

TEST_F(Runs, AnExceptionOfTheFunctionIsTheRunsError) {
  const RunHandle run = host.submit([&](Orchestrator& orch) {
    orch.submit(note);
    throw std::domain_error("the function itself");
  });
  const Error error = thrown<TaskFailed>([&] { run.wait(); });
  EXPECT_EQ(error.message(), "std::domain_error: the function itself");
  EXPECT_EQ(error.path(), "host0");
  EXPECT_EQ(words[kNoted], 1) << "what was submitted goes on";
}

TEST_F(Runs, OneMayBeRunInsideAnother) {
  const int got = host.run([&](Orchestrator& outer) {
    const auto held_up = outer.submit(hold);
    const int inner = host.run(
        [&](Orchestrator& orch) { return orch.submit(twice, Args().scalar(21)).result<int>(); });
    go();
    held_up.wait();
    return inner;
  });
  EXPECT_EQ(got, 42);
}

TEST_F(Runs, AFailureOfTheInnerIsTheOutersToHandle) {
  host.run([&](Orchestrator& outer) {
    EXPECT_THROW(host.run([&](Orchestrator& orch) { orch.submit(fail); }), TaskFailed);
    outer.submit(note);
  });
  EXPECT_EQ(words[kNoted], 1);
}

TEST_F(Runs, AFunctionThatSubmitsNothingEndsAtOnce) {
  EXPECT_EQ(host.run([](Orchestrator&) { return std::string("text").size(); }), 4u);
}

TEST_F(Runs, AReferenceIsNotKeptBeyondSubmit) {
  RunHandle run;
  {
    const std::vector<int> local{1, 2, 3};
    run = host.submit([&local](Orchestrator&) { return local[2]; });
  }
  EXPECT_EQ(run.result<int>(), 3);
}

// --- scopes
// ---------------------------------------------------------------------------------------

TEST_F(Runs, AScopeWaitsForItsOwnTasksOnly) {
  host.run([&](Orchestrator& orch) {
    const auto outside = orch.submit(hold);
    Scope scope = orch.scope("step");
    for (int i = 0; i < 10; ++i) orch.submit(note);
    scope.wait();
    EXPECT_EQ(words[kNoted], 10);
    EXPECT_FALSE(outside.done());
    go();
  });
}

TEST_F(Runs, AScopeWaitsForTheScopesWithinIt) {
  host.run([&](Orchestrator& orch) {
    Scope epoch = orch.scope("epoch");
    for (int i = 0; i < 10; ++i) {
      const Scope step = orch.scope("step");
      orch.submit(note);
    }
    epoch.wait();
    EXPECT_EQ(words[kNoted], 10);
  });
}

TEST_F(Runs, TheFirstErrorOfAScopeIsThrownByItsWait) {
  const Error error = thrown<TaskFailed>([&] {
    host.run([&](Orchestrator& orch) {
      Scope scope = orch.scope("step");
      orch.submit(note);
      orch.submit(fail);
      EXPECT_THROW(scope.wait(), TaskFailed);
    });
  });
  EXPECT_EQ(error.callable(), "fail");
  EXPECT_THAT(error.others(), IsEmpty());
}

TEST_F(Runs, AnErrorInAScopeWithinIsThrownByTheOutersWait) {
  EXPECT_THROW(host.run([&](Orchestrator& orch) {
    Scope epoch = orch.scope("epoch");
    {
      const Scope closed = orch.scope("closed");
      orch.submit(fail);
    }
    EXPECT_THROW(epoch.wait(), TaskFailed);
  }),
               TaskFailed);
}

TEST_F(Runs, NamesOfScopesArriveInTheConfig) {
  host.run([&](Orchestrator& orch) {
    auto scope_of_task = [&] { return std::string(orch.submit(where).result<Text>().data()); };
    EXPECT_EQ(scope_of_task(), "");
    {
      const Scope epoch = orch.scope("epoch");
      EXPECT_EQ(scope_of_task(), "epoch");
      {
        const Scope step = orch.scope("step");
        EXPECT_EQ(scope_of_task(), "epoch/step");
        EXPECT_EQ(orch.config().scope, "epoch/step");
      }
      EXPECT_EQ(scope_of_task(), "epoch");
    }
    EXPECT_EQ(scope_of_task(), "");
  });
}

TEST_F(Runs, AScopeThatIsMovedEndsWhereItsNewOwnerEnds) {
  host.run([&](Orchestrator& orch) {
    for (int i = 0; i < 3; ++i) {  // their places are used again
      std::vector<Scope> kept;
      {
        Scope outer = orch.scope("outer");
        Scope inner = orch.scope("inner");
        kept.push_back(std::move(inner));
      }
      // The outer one has ended, and with it what was opened within it.
      EXPECT_EQ(orch.config().scope, "");
      kept.clear();
      EXPECT_EQ(orch.config().scope, "");
      const Scope next = orch.scope("next");
      EXPECT_EQ(orch.config().scope, "next");
    }
  });
}

// --- edges by hand
// --------------------------------------------------------------------------------

TEST_F(Runs, AfterOrdersTasksThatShareNothing) {
  const SubHandle nothing = host.register_sub("nothing", [](Task&) {});
  host.run([&](Orchestrator& orch) {
    const auto first = orch.submit(hold, {}, {.worker = orch.sub_worker(0)});
    orch.submit(note, {}, {.worker = orch.sub_worker(1), .after = {first}});
    orch.submit(nothing, {}, {.worker = orch.sub_worker(1)}).wait();
    EXPECT_EQ(words[kNoted], 0);
    go();
  });
  EXPECT_EQ(words[kNoted], 1);
}

TEST_F(Runs, AfterAFailedTaskNothingIsRun) {
  const Error error = thrown<TaskFailed>([&] {
    host.run([&](Orchestrator& orch) {
      const auto first = orch.submit(fail);
      const auto second = orch.submit(note, {}, {.after = {first}});
      EXPECT_EQ(thrown<TaskFailed>([&] { second.wait(); }).reason(), Reason::kPoisoned);
    });
  });
  EXPECT_EQ(error.callable(), "fail");
  EXPECT_EQ(words[kNoted], 0);
}

TEST_F(Runs, AfterATaskThatHasEndedNobodyWaits) {
  host.run([&](Orchestrator& orch) {
    const auto first = orch.submit(note);
    first.wait();
    orch.submit(note, {}, {.after = {first, first}}).wait();
  });
  EXPECT_EQ(words[kNoted], 2);
}

TEST_F(Runs, AfterATaskOfAnotherRunIsRefused) {
  const Error error = thrown<InvalidArgument>([&] {
    host.run([&](Orchestrator& outer) {
      const auto foreign = outer.submit(note);
      host.run([&](Orchestrator& orch) { orch.submit(note, {}, {.after = {foreign}}); });
    });
  });
  EXPECT_EQ(error.message(),
            "submit: a task in `after` belongs to another run; order runs by waiting for them");
}

// --- task handles
// ---------------------------------------------------------------------------------

TEST_F(Runs, ATasksResultIsWhatItReturned) {
  host.run([&](Orchestrator& orch) {
    const auto task = orch.submit(twice, Args().scalar(8));
    EXPECT_EQ(task.result<int>(), 16);
    EXPECT_EQ(task.result<int>(), 16);
    EXPECT_TRUE(task.done());
    EXPECT_EQ(thrown<InvalidArgument>([&] { (void)task.result<double>(); }).message(),
              "the result has 4 bytes, and was asked for as a type of 8");
  });
}

TEST_F(Runs, ALargeResultArrivesWhole) {
  const SubHandle large = host.register_sub("large", [](Task& task) {
    std::vector<std::byte> bytes(kResultBytesMax);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 >> 3);
    task.set_result_bytes(bytes);
  });
  host.run([&](Orchestrator& orch) {
    const auto bytes = orch.submit(large).result_bytes();
    ASSERT_EQ(bytes.size(), kResultBytesMax);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      ASSERT_EQ(bytes[i], static_cast<std::byte>(i * 7 >> 3)) << i;
  });
}

TEST_F(Runs, AResultThatIsTooLargeIsRefused) {
  const SubHandle large = host.register_sub("large", [](Task& task) {
    task.set_result_bytes(std::vector<std::byte>(kResultBytesMax + 1));
  });
  const Error error =
      thrown<InvalidArgument>([&] { host.run([&](Orchestrator& orch) { orch.submit(large); }); });
  EXPECT_EQ(error.message(),
            "a result of 1048577 bytes; at most 1048576 are possible, larger data belongs in a "
            "tensor");
}

TEST_F(Runs, ATaskHandleIsDoneAfterItsRunAndTheRestIsRefused) {
  const TaskHandle task = host.run([&](Orchestrator& orch) { return orch.submit(note); });
  EXPECT_TRUE(task.done());
  EXPECT_EQ(thrown<WrongState>([&] { task.wait(); }).message(),
            "the run that this task handle, scope or Orchestrator belongs to has ended");
  EXPECT_THROW((void)task.result_bytes(), WrongState);
}

TEST_F(Runs, AnOldTaskHandleIsNotMixedUpWithLaterRuns) {
  const TaskHandle task = host.run([&](Orchestrator& orch) { return orch.submit(note); });
  const RunHandle later = held(hold);
  EXPECT_TRUE(task.done());
  EXPECT_THROW(task.wait(), WrongState);
  go();
  later.wait();
}

TEST_F(Runs, AnEmptyTaskHandleIsRefused) {
  EXPECT_EQ(thrown<InvalidArgument>([] { TaskHandle().wait(); }).message(),
            "this TaskHandle is empty; submit() makes them");
}

// --- limits
// ---------------------------------------------------------------------------------------

TEST_F(Runs, MoreTasksThanTheTablesHoldAreSubmittedAsRoomComes) {
  host.run([&](Orchestrator& orch) {
    for (int i = 0; i < 100'000; ++i) orch.submit(note);
  });
  EXPECT_EQ(words[kNoted], 100'000);
}

TEST_F(Runs, AChainLongerThanTheTablesEnds) {
  const Tensor x = host.tensor<std::int32_t>({1});
  const SubHandle count =
      host.register_sub("count", [](Task& task) { ++task.tensor<std::int32_t>(0)[0]; });
  host.run([&](Orchestrator& orch) {
    for (int i = 0; i < 70'000; ++i) orch.submit(count, Args().inout(x));
  });
  EXPECT_EQ(x.data<std::int32_t>()[0], 70'000);
}

TEST_F(Runs, WhereNothingInFlightCanFreeRoomTheSubmitIsRefusedAtOnce) {
  const Error error = thrown<ResourceExhausted>([&] {
    host.run([&](Orchestrator& orch) {
      // A task with a result is kept until its run ends.
      for (int i = 0; i < 100'000; ++i) orch.submit(twice, Args().scalar(i));
    });
  });
  EXPECT_THAT(error.message(), AllOf(HasSubstr("all 65536 task slots are used"),
                                     HasSubstr("are kept until their run ends")));
}

TEST_F(Runs, ResultsBeyondWhatIsKeptAreTheirTasksFailure) {
  const Error error = thrown<ResourceExhausted>([&] {
    host.run([&](Orchestrator& orch) {
      for (int i = 0; i < 100; ++i) orch.submit(large_result);
    });
  });
  EXPECT_THAT(error.message(), HasSubstr("1048576 bytes returned by 'large_result' do not fit"));
}

// --- what the tree says
// ---------------------------------------------------------------------------

TEST_F(Runs, TheTreeCountsWhatEachChildRan) {
  const Tensor x = host.tensor<float>({256});
  EXPECT_THROW(host.run([&](Orchestrator& orch) {
    for (int i = 0; i < 4; ++i) {
      orch.submit(note, Args().input(x), {.worker = orch.sub_worker(1)});
    }
    orch.submit(fail, {}, {.worker = orch.sub_worker(1)});
  }),
               TaskFailed);
  const NodeInfo tree = host.tree();
  const NodeInfo& sub = node_at(tree, "host0/sub1");
  EXPECT_EQ(sub.tasks, 5u);
  EXPECT_EQ(sub.tasks_failed, 1u);
  EXPECT_EQ(sub.bytes_in, 4u * 1024);
  EXPECT_EQ(sub.kind, "sub");
  EXPECT_EQ(sub.level, 1);
  EXPECT_GT(sub.up, 0ns);
  EXPECT_EQ(node_at(tree, "host0/sub0").tasks, 0u);
}

TEST_F(Runs, TheTreeIsToldInWords) {
  EXPECT_THAT(host.describe(), AllOf(HasSubstr("host0"), HasSubstr("not started")));
  host.start();
  EXPECT_THAT(host.describe(),
              AllOf(HasSubstr("host0"), HasSubstr("sub0"), HasSubstr("sub1"), HasSubstr("ready")));
  host.close();
  EXPECT_THAT(host.describe(), HasSubstr("closed"));
}

}  // namespace
}  // namespace echelon::tree_test
