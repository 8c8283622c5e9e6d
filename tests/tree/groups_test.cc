// SPDX-License-Identifier: Apache-2.0
//
// Groups: several tasks, each on a child of its own, launched together or not at all (H4).
#include <echelon/echelon.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <vector>

#include "shared_words.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class Groups : public testing::Test {
 protected:
  Groups() {
    // Ends only where all four run at the same time.
    meet = host.register_sub("meet", [this](Task& task) {
      words.meet(task.scalar<std::uint32_t>(0), 4);
      return ::getpid();
    });
    note = host.register_sub("note", [this](Task&) { ++words[kNoted]; });
    hold = host.register_sub("hold", [this](Task&) { words.wait_for(kGo); });
    pid = host.register_sub("pid", [](Task&) { return ::getpid(); });
  }

  static std::vector<Args> numbered(std::uint32_t count) {
    std::vector<Args> args(count);
    for (std::uint32_t i = 0; i < count; ++i) args[i].scalar(i);
    return args;
  }
  template <class T>
  static std::vector<T> results(const std::vector<TaskHandle>& tasks) {
    std::vector<T> values;
    for (const TaskHandle& task : tasks) values.push_back(task.result<T>());
    return values;
  }

  static constexpr std::size_t kGo = 8, kNoted = 9;
  SharedWords words;
  Worker host{{.level = 3, .sub_workers = 4}};
  SubHandle meet, note, hold, pid;
};

TEST_F(Groups, MembersRunAtTheSameTimeEachOnAChildOfItsOwn) {
  const auto pids = host.run(
      [&](Orchestrator& orch) { return results<pid_t>(orch.submit_group(meet, numbered(4))); });
  EXPECT_EQ(std::set<pid_t>(pids.begin(), pids.end()).size(), 4u);
}

TEST_F(Groups, AreNotStarvedByAStreamOfSingles) {
  host.run([&](Orchestrator& orch) {
    for (int i = 0; i < 2000; ++i) orch.submit(note);
    const auto group = orch.submit_group(meet, numbered(4));
    for (int i = 0; i < 2000; ++i) orch.submit(note);
    for (const TaskHandle& member : group) member.wait();
  });
  EXPECT_EQ(words[kNoted], 4000);
}

TEST_F(Groups, WaitUntilEnoughChildrenAreIdle) {
  host.run([&](Orchestrator& orch) {
    const auto held = orch.submit(hold, {}, {.worker = orch.sub_worker(2)});
    const auto group = orch.submit_group(meet, numbered(4));
    EXPECT_EQ(words[0] + words[1] + words[2] + words[3], 0);
    words[kGo] = 1;
    for (const TaskHandle& member : group) member.wait();
    EXPECT_TRUE(held.done());
  });
}

TEST_F(Groups, SeveralFollowEachOther) {
  host.run([&](Orchestrator& orch) {
    const SubHandle count = pid;
    for (int i = 0; i < 100; ++i) {
      const auto group = orch.submit_group(count, std::vector<Args>(3));
      const auto pids = results<pid_t>(group);
      EXPECT_EQ(std::set<pid_t>(pids.begin(), pids.end()).size(), 3u);
    }
  });
}

TEST_F(Groups, OfSeveralRunsDoNotBlockEachOther) {
  std::vector<::echelon::Run> runs;
  for (int i = 0; i < 20; ++i) {
    runs.push_back(host.submit([&](Orchestrator& orch) {
      for (int group = 0; group < 5; ++group) orch.submit_group(pid, std::vector<Args>(3));
    }));
  }
  for (const auto& run : runs) run.wait();
}

TEST_F(Groups, RunAtTheWorkersThatAreNamed) {
  host.start();
  const NodeInfo tree = host.tree();
  const auto pids = host.run([&](Orchestrator& orch) {
    return results<pid_t>(orch.submit_group(pid, std::vector<Args>(2),
                                            {.workers = {orch.sub_worker(3), orch.sub_worker(1)}}));
  });
  EXPECT_THAT(pids, ElementsAre(pid_at(tree, "host0/sub3"), pid_at(tree, "host0/sub1")));
}

TEST_F(Groups, OneWorkerNamedTwiceIsRefused) {
  const Error error = thrown<InvalidArgument>([&] {
    host.run([&](Orchestrator& orch) {
      orch.submit_group(pid, std::vector<Args>(2),
                        {.workers = {orch.sub_worker(1), orch.sub_worker(1)}});
    });
  });
  EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
  EXPECT_THAT(error.message(), HasSubstr("a group of 2 tasks needs a live child of its own"));
}

TEST_F(Groups, AnotherNumberOfWorkersThanTasksIsRefused) {
  const Error error = thrown<InvalidArgument>([&] {
    host.run([&](Orchestrator& orch) {
      orch.submit_group(pid, std::vector<Args>(3), {.workers = {orch.sub_worker(1)}});
    });
  });
  EXPECT_EQ(error.message(), "submit_group: 1 workers for 3 tasks; give one a task, or none");
}

TEST_F(Groups, LargerThanTheEligibleChildrenAreRefused) {
  const Error error = thrown<InvalidArgument>(
      [&] { host.run([&](Orchestrator& orch) { orch.submit_group(pid, std::vector<Args>(5)); }); });
  EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("a group of 5 tasks needs a live child of its own for each"),
                    HasSubstr("4 can run the first (sub task)")));
}

TEST_F(Groups, OfNoTasksAreNothing) {
  EXPECT_THAT(host.run([&](Orchestrator& orch) {
    return orch.submit_group(pid, std::vector<Args>()).size();
  }),
              0u);
}

TEST_F(Groups, MembersWaitForTheirTensorsBeforeAnyIsLaunched) {
  const Tensor x = host.tensor<std::int32_t>({4});
  const SubHandle fill = host.register_sub("fill", [this](Task& task) {
    words.wait_for(kGo);
    for (auto& value : task.tensor<std::int32_t>(0)) value = 5;
  });
  const SubHandle take = host.register_sub("take", [this](Task& task) {
    words.meet(task.scalar<std::uint32_t>(0), 2);
    return task.tensor<const std::int32_t>(0)[0];
  });
  const auto got = host.run([&](Orchestrator& orch) {
    orch.submit(fill, Args().output(x));
    std::vector<Args> args = numbered(2);
    args[1].input(x);
    args[0].input(host.tensor<std::int32_t>({1}));
    const auto group = orch.submit_group(take, args);
    orch.submit(note).wait();
    EXPECT_EQ(words[0], 0) << "one member runs before the other can";
    words[kGo] = 1;
    return results<std::int32_t>(group);
  });
  EXPECT_THAT(got, ElementsAre(0, 5));
}

TEST_F(Groups, MembersWriteDisjointPartsOfOneTensor) {
  const Tensor x = host.tensor<std::uint32_t>({4, 8});
  const SubHandle fill = host.register_sub("fill", [this](Task& task) {
    words.meet(task.scalar<std::uint32_t>(0), 4);
    for (auto& value : task.tensor<std::uint32_t>(0)) value = task.scalar<std::uint32_t>(0) + 1;
  });
  host.run([&](Orchestrator& orch) {
    std::vector<Args> args = numbered(4);
    for (std::int64_t i = 0; i < 4; ++i) {
      args[static_cast<std::size_t>(i)].output(x.slice(0, i, i + 1));
    }
    orch.submit_group(fill, args);
  });
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_THAT(x.slice(0, i, i + 1).data<std::uint32_t>().span(),
                Each(static_cast<std::uint32_t>(i + 1)));
  }
}

TEST_F(Groups, AMemberThatThrowsFailsItselfAlone) {
  const SubHandle odd = host.register_sub("odd", [](Task& task) {
    if (task.scalar<std::uint32_t>(0) == 1) throw std::runtime_error("odd one out");
    return task.scalar<std::uint32_t>(0);
  });
  const Error error = thrown<TaskFailed>([&] {
    host.run([&](Orchestrator& orch) {
      const auto group = orch.submit_group(odd, numbered(3));
      EXPECT_EQ(group[0].result<std::uint32_t>(), 0u);
      EXPECT_EQ(group[2].result<std::uint32_t>(), 2u);
      EXPECT_THROW(group[1].wait(), TaskFailed);
    });
  });
  EXPECT_EQ(error.message(), "std::runtime_error: odd one out");
}

TEST_F(Groups, AMemberThatDiesIsToldAndTheOthersEnd) {
  const SubHandle die = host.register_sub("die", [this](Task& task) {
    words.meet(task.scalar<std::uint32_t>(0), 3);
    if (task.scalar<std::uint32_t>(0) == 1) ::raise(SIGKILL);
    return 1;
  });
  const Error error = thrown<ChildLost>([&] {
    host.run([&](Orchestrator& orch) {
      const auto group = orch.submit_group(die, numbered(3));
      EXPECT_EQ(group[0].result<int>(), 1);
      EXPECT_EQ(group[2].result<int>(), 1);
      EXPECT_THROW(group[1].wait(), ChildLost);
    });
  });
  EXPECT_EQ(error.cause(), Cause::kSignal);
  EXPECT_EQ(error.callable(), "die");
}

TEST_F(Groups, AfterADeathAGroupOfThoseThatLiveIsLaunched) {
  const SubHandle die = host.register_sub("die", [](Task&) { ::raise(SIGKILL); });
  EXPECT_THROW(host.run([&](Orchestrator& orch) { orch.submit(die); }), ChildLost);
  const auto pids = host.run([&](Orchestrator& orch) {
    return results<pid_t>(orch.submit_group(pid, std::vector<Args>(3)));
  });
  EXPECT_THAT(pids, SizeIs(3));
  EXPECT_EQ(thrown<InvalidArgument>([&] {
              host.run([&](Orchestrator& orch) { orch.submit_group(pid, std::vector<Args>(4)); });
            }).reason(),
            Reason::kNoEligibleChild);
}

TEST_F(Groups, AQueuedGroupThatADeathMakesImpossibleFailsWhole) {
  const SubHandle die = host.register_sub("die", [this](Task&) {
    words.wait_for(kGo);
    ::raise(SIGKILL);
  });
  std::vector<Error> errors;
  EXPECT_THROW(host.run([&](Orchestrator& orch) {
    orch.submit(die, {}, {.worker = orch.sub_worker(2)});
    const auto group = orch.submit_group(meet, numbered(4));
    words[kGo] = 1;
    for (const TaskHandle& member : group) errors.push_back(thrown<Error>([&] { member.wait(); }));
  }),
               ChildLost);
  ASSERT_THAT(errors, SizeIs(4));
  for (const Error& error : errors) {
    EXPECT_THAT(error.reason(), AnyOf(Reason::kNoEligibleChild, Reason::kPoisoned)) << error.what();
  }
  EXPECT_EQ(words[0] + words[1] + words[2] + words[3], 0) << "none of it was launched";
}

TEST_F(Groups, ACancelledRunTakesItsQueuedGroupWithIt) {
  host.start();
  const ::echelon::Run blocker = host.submit(
      [&](Orchestrator& orch) { orch.submit(hold, {}, {.worker = orch.sub_worker(0)}); });
  const ::echelon::Run run =
      host.submit([&](Orchestrator& orch) { orch.submit_group(meet, numbered(4)); });
  run.cancel();
  EXPECT_THROW(run.wait(), Cancelled);
  words[kGo] = 1;
  blocker.wait();
  EXPECT_EQ(words[0], 0);
}

TEST(GroupsOfWorkers, OrchestrationFunctionsRunOnHostsSideBySide) {
  const SharedWords words;
  Worker pod({.level = 4});
  Worker a({.level = 3, .name = "a", .sub_workers = 1});
  Worker b({.level = 3, .name = "b", .sub_workers = 1});
  pod.add_worker(a);
  pod.add_worker(b);
  const SubHandle meet =
      pod.register_sub("meet", [&](Task& task) { words.meet(task.scalar<std::uint32_t>(0), 2); });
  const OrchHandle step = pod.register_orch("step", [=](Orchestrator& orch, TaskArgs& args) {
    orch.submit(meet, Args().scalar(args.scalar<std::uint32_t>(0))).wait();
    return ::getpid();
  });
  pod.run([&](Orchestrator& orch) {
    const std::vector<Args> args{Args().scalar(0u), Args().scalar(1u)};
    const auto group = orch.submit_group(step, args);
    EXPECT_NE(group[0].result<pid_t>(), group[1].result<pid_t>());
  });
}

TEST(GroupsOfChips, KernelsRunOnChipsOfTheirOwn) {
  Worker host({.level = 3, .chips = {{"cpu", 0}, {"cpu", 1}}});
  const ChipHandle scale =
      host.register_chip("scale", ChipImage::from_file(ECHELON_TREE_KERNELS, "scale"));
  const std::vector<float> values{1, 2, 3, 4};
  const Tensor x = host.tensor<float>({4}, values);
  host.run([&](Orchestrator& orch) {
    const std::vector<Args> args{Args().input(x).output<float>({4}).scalar(2.0f),
                                 Args().input(x).output<float>({4}).scalar(3.0f)};
    const auto group = orch.submit_group(scale, args);
    for (const TaskHandle& member : group) member.wait();
    EXPECT_THAT(group[0].output(0).data<const float>().span(), ElementsAre(2, 4, 6, 8));
    EXPECT_THAT(group[1].output(0).data<const float>().span(), ElementsAre(3, 6, 9, 12));
  });
  const NodeInfo tree = host.tree();
  EXPECT_EQ(node_at(tree, "host0/chip0").tasks, 1u);
  EXPECT_EQ(node_at(tree, "host0/chip1").tasks, 1u);
}

}  // namespace
}  // namespace echelon::tree_test
