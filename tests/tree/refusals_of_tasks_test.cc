// SPDX-License-Identifier: Apache-2.0
//
// What is refused of tasks, at the earliest call that can know, and with which words.
#include <string>
#include <vector>

#include "refusals.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// --- handles
// --------------------------------------------------------------------------------------

using Handles = PodOfTwoHosts;

TEST_F(Handles, OfAnotherWorkerAreRefused) {
  Worker other({.level = 3, .name = "other", .sub_workers = 1, .chips = {{"cpu", 0}}});
  const SubHandle foreign_sub = other.register_sub("sub", [](Task&) {});
  const OrchHandle foreign_orch = other.register_orch("orch", [](Orchestrator&) {});
  const ChipHandle foreign_chip = other.register_chip("scale", image("scale"));
  const auto words = [](const char* kind) {
    return std::string("submit: the ") + kind +
           " handle was registered neither on pod0 nor on a Worker above it; register it there";
  };
  expect_refused<InvalidArgument>([&] { run([&](auto& o) { o.submit(foreign_sub); }); },
                                  Reason::kForeignHandle, words("sub"));
  expect_refused<InvalidArgument>([&] { run([&](auto& o) { o.submit(foreign_orch); }); },
                                  Reason::kForeignHandle, words("orch"));
  expect_refused<InvalidArgument>([&] { run([&](auto& o) { o.submit(foreign_chip); }); },
                                  Reason::kForeignHandle, words("chip"));
}

TEST_F(Handles, OfAWorkerBelowAreRefusedAbove) {
  const SubHandle below = host0.register_sub("below", [](Task&) {});
  expect_refused<InvalidArgument>(
      [&] { run([&](auto& o) { o.submit(below); }); }, Reason::kForeignHandle,
      HasSubstr("was registered neither on pod0 nor on a Worker above"));
}

TEST_F(Handles, OfASiblingAreRefused) {
  const SubHandle below = host0.register_sub("below", [](Task&) {});
  expect_refused<InvalidArgument>(
      [&] { run_at(1, [=](Orchestrator& o, TaskArgs&) { o.submit(below); }); },
      Reason::kForeignHandle,
      HasSubstr("was registered neither on pod0/host1 nor on a Worker above"));
}

TEST_F(Handles, RegisteredOnAWorkerInTheTreeAreValidInItsSubtree) {
  const SubHandle below = host0.register_sub("below", [](Task&) {});
  run_at(0, [=](Orchestrator& o, TaskArgs&) { o.submit(below); });
}

TEST_F(Handles, ThatAreEmptyAreRefused) {
  expect_refused<InvalidArgument>([&] { run([](auto& o) { o.submit(SubHandle()); }); },
                                  Reason::kBadArgument,
                                  "submit: the sub handle is empty; it comes from register_sub()");
  expect_refused<InvalidArgument>([&] { TaskHandle().wait(); }, Reason::kBadArgument,
                                  HasSubstr("this TaskHandle is empty"));
  expect_refused<InvalidArgument>([&] { echelon::Run().wait(); }, Reason::kBadArgument,
                                  HasSubstr("this Run is empty"));
}

TEST_F(Handles, AChipTaskIsRefusedByAHostWithoutChips) {
  const Error error = thrown<InvalidArgument>(
      [&] { run_at(1, [chip = chip](Orchestrator& o, TaskArgs&) { o.submit(chip); }); });
  EXPECT_EQ(error.reason(), Reason::kWrongKind);
  EXPECT_EQ(error.path(), "pod0/host1");
  EXPECT_EQ(error.message(),
            "no child of pod0/host1 can run 'scale' (chip task): sub0 runs sub-worker tasks");
}

TEST_F(Handles, AChipTaskIsRefusedAtAPod) {
  const Error error =
      thrown<InvalidArgument>([&] { run([&](Orchestrator& o) { o.submit(chip); }); });
  EXPECT_EQ(error.reason(), Reason::kWrongKind);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("no child of pod0 can run 'scale'"),
                                     HasSubstr("host0 runs orchestration tasks")));
}

TEST_F(Handles, AnOrchestrationTaskIsRefusedAtAHost) {
  const Error error = thrown<InvalidArgument>(
      [&] { run_at(1, [orch = orch](Orchestrator& o, TaskArgs&) { o.submit(orch); }); });
  EXPECT_EQ(error.reason(), Reason::kWrongKind);
  EXPECT_THAT(error.message(), HasSubstr("no child of pod0/host1 can run 'orch'"));
}

TEST_F(Handles, AChildOfTheWrongKindIsRefused) {
  const Error error = thrown<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.worker = o.worker(0)}); }); });
  EXPECT_EQ(error.reason(), Reason::kWrongKind);
  EXPECT_EQ(error.message(),
            "'sub' must run at pod0/host0, which cannot run it: host0 runs orchestration tasks");
}

TEST_F(Handles, AChildThatIsNotThereIsRefused) {
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.worker = WorkerId{17}}); }); },
      Reason::kBadArgument, "there is no child 17: pod0 has 3");
  expect_refused<InvalidArgument>([&] { run([](Orchestrator& o) { o.sub_worker(4); }); },
                                  Reason::kBadArgument,
                                  HasSubstr("pod0 has 1 children of kind sub"));
}

TEST_F(Handles, AGroupLargerThanTheEligibleChildrenIsRefused) {
  const std::vector<Args> three(3);
  expect_refused<InvalidArgument>(
      [&] {
        run_at(0, [=, sub = sub](Orchestrator& o, TaskArgs&) { o.submit_group(sub, three); });
      },
      Reason::kNoEligibleChild,
      AllOf(HasSubstr("a group of 3 tasks needs a live child of its own for each"),
            HasSubstr("2 can run the first (sub task)")));
}

TEST_F(Handles, AGroupIsGivenOneWorkerATaskOrNone) {
  const std::vector<Args> two(2);
  expect_refused<InvalidArgument>(
      [&] {
        run_at(0, [=, sub = sub](Orchestrator& o, TaskArgs&) {
          o.submit_group(sub, two, {.workers = {o.sub_worker(0)}});
        });
      },
      Reason::kBadArgument, "submit_group: 1 workers for 2 tasks; give one a task, or none");
}

TEST_F(Handles, AGroupTwiceOnOneChildIsRefused) {
  const std::vector<Args> two(2);
  expect_refused<InvalidArgument>(
      [&] {
        run_at(0, [=, sub = sub](Orchestrator& o, TaskArgs&) {
          o.submit_group(sub, two, {.workers = {o.sub_worker(0), o.sub_worker(0)}});
        });
      },
      Reason::kNoEligibleChild, HasSubstr("needs a live child of its own for each"));
}

TEST_F(Handles, ATaskOfAnotherRunIsRefusedInAfter) {
  std::optional<TaskHandle> earlier;
  run([&](Orchestrator& o) { earlier = o.submit(sub); });
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.after = {*earlier}}); }); },
      Reason::kForeignHandle, HasSubstr("a task in `after` belongs to another run"));
}

TEST_F(Handles, ATaskOfAnEndedRunIsNotWaitedFor) {
  std::optional<TaskHandle> earlier;
  run([&](Orchestrator& o) { earlier = o.submit(sub); });
  EXPECT_TRUE(earlier->done());
  expect_refused<WrongState>([&] { earlier->wait(); }, Reason::kWrongState,
                             HasSubstr("the run that this task handle"));
}

TEST_F(Handles, AResultIsAskedForAsWhatItIs) {
  const SubHandle returns = pod.register_sub("returns", [](Task&) { return 7; });
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(returns).result<double>(); }); },
      Reason::kWrongType, "the result has 4 bytes, and was asked for as a type of 8");
}

// Scopes are printed in errors, on terminals too.
TEST_F(Handles, AScopeWithControlCharactersIsRefused) {
  expect_refused<InvalidArgument>(
      [&] {
        run([&](Orchestrator& o) {
          const Scope outer = o.scope("outer");
          o.scope("red\x1b[31m");
        });
      },
      Reason::kBadArgument,
      "scope: the name \"outer/red\\x1b[31m\" has control characters; leave them out");
}

// --- sizes
// ----------------------------------------------------------------------------------------

using Sizes = PodOfTwoHosts;

TEST_F(Sizes, ArgumentsLargerThanAFrameArrive) {
  CallConfig config;
  config.values["text"] = std::string(15'000, 'x');
  const SubHandle check = pod.register_sub("check", [](Task& task) {
    float sum = 0;
    for (std::size_t i = 0; i < task.tensor_count(); ++i) sum += task.tensor<const float>(i)[0];
    for (std::size_t i = 0; i < task.scalar_count(); ++i) {
      sum += static_cast<float>(task.scalar<int>(i));
    }
    return sum + static_cast<float>(task.config().values.at("text").size());
  });
  Args args;
  const std::vector<float> one{1.0f};
  for (int i = 0; i < 64; ++i) {
    args.input(pod.tensor<float>(Shape(8, 1), std::span<const float>(one))).scalar(2);
  }
  for (int i = 0; i < 20; ++i) {  // more than the ring would hold of them
    const float sum = pod.run(
        [&](Orchestrator& o) { return o.submit(check, args).result<float>(); }, {.config = config});
    EXPECT_EQ(sum, 64 + 128 + 15'000);
  }
}

TEST_F(Sizes, MoreArgumentsThanATaskMayHaveAreRefused) {
  const Tensor x = pod.tensor<float>({4});
  Args tensors;
  Args scalars;
  for (int i = 0; i < 65; ++i) {
    tensors.input(x);
    scalars.scalar(i);
  }
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, tensors); }); }, Reason::kTooLarge,
      "submit: 65 tensors and 0 scalars; at most 64 and 64 are possible");
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, scalars); }); }, Reason::kTooLarge,
      "submit: 0 tensors and 65 scalars; at most 64 and 64 are possible");
}

TEST_F(Sizes, AConfigLargerThanItMayBeIsRefused) {
  CallConfig config;
  config.values["text"] = std::string(70'000, 'x');
  const auto too_large = HasSubstr("at most 16384 bytes");
  expect_refused<InvalidArgument>([&] { pod.run([](Orchestrator&) {}, {.config = config}); },
                                  Reason::kTooLarge, too_large);
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.config = config}); }); },
      Reason::kTooLarge, too_large);
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.scope(std::string(20'000, 's')); }); }, Reason::kTooLarge,
      too_large);
}

TEST_F(Sizes, AGridWithoutBlocksIsRefused) {
  CallConfig config;
  config.grid = {4, 0, 1};
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.config = config}); }); },
      Reason::kBadArgument, HasSubstr("a grid of 4 x 0 x 1 blocks; each must be at least 1"));
}

TEST_F(Sizes, AResultLargerThanItMayBeIsRefused) {
  const SubHandle large = pod.register_sub("large", [](Task& task) {
    task.set_result_bytes(std::vector<std::byte>(task.scalar<std::size_t>(0)));
  });
  const auto bytes_of = [&](std::size_t bytes) {
    return pod.run([&](Orchestrator& o) {
      return o.submit(large, Args().scalar(bytes)).result_bytes().size();
    });
  };
  EXPECT_EQ(bytes_of(kResultBytesMax), kResultBytesMax);
  expect_refused<InvalidArgument>([&] { bytes_of(kResultBytesMax + 1); }, Reason::kBadArgument,
                                  HasSubstr("a result of 1048577 bytes; at most 1048576"));
}

// --- waiting
// --------------------------------------------------------------------------------------

TEST(Waiting, ForARunFromInsideATaskIsRefused) {
  Worker host({.level = 3, .sub_workers = 1});
  auto run = std::make_shared<echelon::Run>();
  const SubHandle waits = host.register_sub("waits", [run](Task&) { run->wait(); });
  *run = host.submit([](Orchestrator&) {});
  host.close();
  host.start();  // the sub-worker inherits the handle
  expect_refused<WrongState>([&] { host.run([&](Orchestrator& o) { o.submit(waits); }); },
                             Reason::kWrongState,
                             AllOf(HasSubstr("this Run belongs to another process"),
                                   HasSubstr("a task cannot wait for the run that it is part of")));
}

TEST(Waiting, ForAnotherRunInsideAnOrchestrationFunctionWorks) {
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle seven = host.register_sub("seven", [](Task&) { return 7; });
  const int value = host.run([&](Orchestrator&) {
    const auto inner = host.submit([&](Orchestrator& o) { return o.submit(seven).result<int>(); });
    return inner.result<int>();
  });
  EXPECT_EQ(value, 7);
}

}  // namespace
}  // namespace echelon::tree_test
