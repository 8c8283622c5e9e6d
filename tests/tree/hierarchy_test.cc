// SPDX-License-Identifier: Apache-2.0
//
// Five levels of Workers, each with its own Orchestrator, sub-workers and engine (H1-H3): what is
// submitted at the top arrives at the bottom, and what happens there is told at the top.
#include <echelon/echelon.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstring>
#include <stdexcept>
#include <string>

#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::Gt;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

ChipHandle register_kernel(Worker& worker, const char* kernel) {
  return worker.register_chip(kernel, ChipImage::from_file(ECHELON_TREE_KERNELS, kernel));
}

std::string machine_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

/// What one level saw of itself and of its own sub-worker; small and flat, to be a task's result.
struct Seen {
  int level = 0;
  pid_t pid = 0;
  pid_t sub_pid = 0;
  std::array<char, 80> path{};
  std::array<char, 80> sub_path{};
};
struct Trail {
  int count = 0;
  std::array<Seen, 5> seen{};
};
struct SubSeen {
  pid_t pid = 0;
  std::array<char, 80> path{};
};

std::array<char, 80> to_array(const std::string& text) {
  std::array<char, 80> array{};
  text.copy(array.data(), array.size() - 1);
  return array;
}

/// L6 -> L5 -> L4 -> L3 -> {sub, chip}, a sub-worker at every level, and a host of L6's own.
class Hierarchy : public testing::Test {
 protected:
  Hierarchy() {
    pod.add_worker(host);
    supernode.add_worker(pod);
    cluster.add_worker(supernode);
    cluster.add_worker(lone);
    look = cluster.register_sub("look", [](Task& task) {
      return SubSeen{::getpid(), to_array(task.path())};
    });
  }

  ~Hierarchy() override {
    if (cluster.started()) expect_no_lost_wakeups(cluster.tree());
  }

  static void expect_no_lost_wakeups(const NodeInfo& node) {
    EXPECT_EQ(node.lost_wakeups, 0u) << node.path;
    for (const NodeInfo& child : node.children) expect_no_lost_wakeups(child);
  }

  /// An orchestration function that runs `step` at each level on the way down the long branch.
  OrchHandle register_descent(const std::function<void(Orchestrator&, TaskArgs&)>& step) {
    auto self = std::make_shared<OrchHandle>();
    *self = cluster.register_orch("descent", [self, step](Orchestrator& orch, TaskArgs& args) {
      step(orch, args);
      if (orch.worker_count() != 0) orch.submit(*self, {}, {.worker = orch.worker(0)});
    });
    return *self;
  }
  void run_descent(OrchHandle descent, const RunOptions& options = {}) {
    cluster.run([&](Orchestrator& orch) { orch.submit(descent, {}, {.worker = orch.worker(0)}); },
                options);
  }

  static constexpr const char* kHost = "cluster0/supernode0/pod0/host0";

  Worker cluster{{.level = 6, .sub_workers = 1}};
  Worker supernode{{.level = 5, .sub_workers = 1}};
  Worker pod{{.level = 4, .sub_workers = 1}};
  Worker host{{.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}}}};
  Worker lone{{.level = 3, .name = "lone", .sub_workers = 1}};
  SubHandle look;
};

TEST_F(Hierarchy, EachLevelSubmitsWithItsOwnOrchestratorToItsOwnSubWorker) {
  auto self = std::make_shared<OrchHandle>();
  auto visit = [self, look = look](Orchestrator& orch) {
    Trail trail;
    if (orch.worker_count() != 0) {
      trail = orch.submit(*self, {}, {.worker = orch.worker(0)}).result<Trail>();
    }
    const auto sub = orch.submit(look).result<SubSeen>();
    trail.seen.at(static_cast<std::size_t>(trail.count++)) =
        Seen{orch.level(), ::getpid(), sub.pid, to_array(orch.path()), sub.path};
    return trail;
  };
  *self = cluster.register_orch("visit", visit);

  const Trail trail = cluster.run(visit);

  ASSERT_EQ(trail.count, 4);
  const NodeInfo tree = cluster.tree();
  std::string path;
  for (int i = 0; i < 4; ++i) {
    const Seen& seen = trail.seen.at(static_cast<std::size_t>(3 - i));
    constexpr std::array kNames = {"cluster0", "/supernode0", "/pod0", "/host0"};
    path += kNames.at(static_cast<std::size_t>(i));
    EXPECT_EQ(seen.level, 6 - i);
    EXPECT_EQ(seen.path.data(), path);
    EXPECT_EQ(seen.sub_path.data(), path + "/sub0");
    EXPECT_EQ(seen.pid, pid_at(tree, path));
    EXPECT_EQ(seen.sub_pid, pid_at(tree, path + "/sub0"));
  }
}

TEST_F(Hierarchy, TheTreeTellsEveryProcessByItsPath) {
  cluster.start();
  const NodeInfo tree = cluster.tree();
  EXPECT_EQ(tree.pid, ::getpid());
  for (const char* path :
       {"cluster0/sub0", "cluster0/supernode0", "cluster0/supernode0/sub0",
        "cluster0/supernode0/pod0", "cluster0/supernode0/pod0/sub0",
        "cluster0/supernode0/pod0/host0", "cluster0/supernode0/pod0/host0/sub0",
        "cluster0/supernode0/pod0/host0/chip0", "cluster0/lone", "cluster0/lone/sub0"}) {
    const NodeInfo& node = node_at(tree, path);
    EXPECT_EQ(node.state, "ready") << path;
    EXPECT_GT(node.pid, 0) << path;
  }
}

TEST_F(Hierarchy, AHostBelowAnL6RunsAtItsSide) {
  const OrchHandle at_lone = cluster.register_orch("at_lone", [look = look](Orchestrator& orch) {
    if (orch.level() != 3) throw std::runtime_error("not a host");
    return orch.submit(look).result<SubSeen>();
  });
  const auto seen = cluster.run([&](Orchestrator& orch) {
    return orch.submit(at_lone, {}, {.worker = orch.worker(1)}).result<SubSeen>();
  });
  EXPECT_STREQ(seen.path.data(), "cluster0/lone/sub0");
  EXPECT_EQ(seen.pid, pid_at(cluster.tree(), "cluster0/lone/sub0"));
}

TEST_F(Hierarchy, ATensorOfTheTopIsWrittenByTheDeepestSubAndChip) {
  const SubHandle fill = cluster.register_sub("fill", [](Task& task) {
    for (float& value : task.tensor<float>(0)) value = 3.0f;
  });
  const ChipHandle scale = register_kernel(cluster, "scale");
  auto self = std::make_shared<OrchHandle>();
  *self = cluster.register_orch("down", [=](Orchestrator& orch, TaskArgs& args) {
    const Tensor x = args.handle(0);
    const Tensor y = args.handle(1);
    if (orch.worker_count() != 0) {
      orch.submit(*self, Args().inout(x).output(y));
      return;
    }
    orch.submit(fill, Args().output(x));
    orch.submit(scale, Args().input(x).output(y).scalar(2.0f));
  });
  const Tensor x = cluster.tensor<float>({64});
  const Tensor y = cluster.tensor<float>({64});
  cluster.run([&](Orchestrator& orch) {
    orch.submit(*self, Args().inout(x).output(y), {.worker = orch.worker(0)});
  });
  EXPECT_THAT(x.data<const float>().span(), Each(3.0f));
  EXPECT_THAT(y.data<const float>().span(), Each(6.0f));
}

TEST_F(Hierarchy, TensorsMadeAfterTheStartReachTheBottom) {
  const SubHandle add_one = cluster.register_sub("add_one", [](Task& task) {
    for (float& value : task.tensor<float>(0)) value += 1.0f;
  });
  auto self = std::make_shared<OrchHandle>();
  *self = cluster.register_orch("down", [=](Orchestrator& orch, TaskArgs& args) {
    const Args given = Args().inout(args.handle(0));
    if (orch.worker_count() != 0) {
      orch.submit(*self, given);
    } else {
      orch.submit(add_one, given);
    }
  });
  cluster.start();
  for (int i = 0; i < 3; ++i) {  // each of another piece of the pool
    const Tensor x = cluster.tensor<float>({1 << 18});
    cluster.run([&](Orchestrator& orch) {
      orch.submit(*self, Args().inout(x), {.worker = orch.worker(0)});
    });
    EXPECT_THAT(x.data<const float>()[0], 1.0f);
    EXPECT_THAT(x.data<const float>()[(1 << 18) - 1], 1.0f);
  }
}

// --- CallConfig
// -----------------------------------------------------------------------------------

CallConfig unusual_config() {
  CallConfig config;
  config.grid = {3, 2, 5};
  config.cores = 2;
  config.profiling = 0x5a;
  config.values = {{"key", "77"}, {"empty", ""}, {"text", "a value of several words"}};
  return config;
}

void expect_config(const CallConfig& config, const CallConfig& expected, const std::string& where) {
  if (config == expected) return;
  throw std::runtime_error(where + ": the config differs: scope \"" + config.scope + "\", " +
                           std::to_string(config.values.size()) + " values");
}

TEST_F(Hierarchy, EveryFieldOfTheConfigArrivesUnchangedAtEachLevel) {
  CallConfig expected = unusual_config();
  expected.scope = "epoch/step";
  const SubHandle sub = cluster.register_sub("sub", [=](Task& task) {
    expect_config(task.config(), expected, task.path());
    return 1;
  });
  auto self = std::make_shared<OrchHandle>();
  *self = cluster.register_orch("descent",
                                [=](Orchestrator& orch, TaskArgs&, const CallConfig& config) {
                                  expect_config(config, expected, orch.path());
                                  expect_config(orch.config(), expected, orch.path());
                                  int checked = orch.submit(sub).result<int>();
                                  if (orch.worker_count() != 0)
                                    checked += orch.submit(*self).result<int>();
                                  return checked;
                                });
  const int checked = cluster.run(
      [&](Orchestrator& orch) {
        const Scope epoch = orch.scope("epoch");
        const Scope step = orch.scope("step");
        return orch.submit(*self, {}, {.worker = orch.worker(0)}).result<int>();
      },
      {.config = unusual_config()});
  EXPECT_EQ(checked, 3);
}

TEST_F(Hierarchy, TheConfigReachesTheChipAtTheBottom) {
  const ChipHandle report = register_kernel(cluster, "report_launch");
  auto self = std::make_shared<OrchHandle>();
  *self = cluster.register_orch("down", [=](Orchestrator& orch, TaskArgs& args) {
    const Args given = Args().output(args.handle(0));
    if (orch.worker_count() != 0) {
      orch.submit(*self, given);
    } else {
      orch.submit(report, given);
    }
  });
  const Tensor out = cluster.tensor<std::int64_t>({6});
  cluster.run(
      [&](Orchestrator& orch) {
        orch.submit(*self, Args().output(out), {.worker = orch.worker(0)});
      },
      {.config = unusual_config()});
  EXPECT_THAT(out.data<const std::int64_t>().span(), ElementsAre(3, 2, 5, 2, 0x5a, 77));
}

TEST_F(Hierarchy, AConfigGivenOnTheWayHoldsFromThereOn) {
  CallConfig other = unusual_config();
  other.grid = {7, 1, 1};
  const SubHandle sub = cluster.register_sub(
      "sub", [](Task& task) { return task.config().grid[0] * 100 + task.config().profiling; });
  auto self = std::make_shared<OrchHandle>();
  *self = cluster.register_orch("descent", [=](Orchestrator& orch) -> std::uint32_t {
    if (orch.worker_count() == 0) return orch.submit(sub).result<std::uint32_t>();
    const bool here = orch.level() == 4;
    const auto config = here ? std::optional(other) : std::nullopt;
    return orch.submit(*self, {}, {.config = config}).result<std::uint32_t>();
  });
  const auto at_bottom = cluster.run([&](Orchestrator& orch) {
    return orch.submit(*self, {}, {.worker = orch.worker(0)}).result<std::uint32_t>();
  });
  EXPECT_EQ(at_bottom, 7u * 100 + 0x5a);
}

TEST_F(Hierarchy, AScopeOpenedBelowIsAddedToTheScopesAbove) {
  const SubHandle sub =
      cluster.register_sub("sub", [](Task& task) { return to_array(task.config().scope); });
  const OrchHandle at_host = cluster.register_orch("at_lone", [=](Orchestrator& orch) {
    const Scope inner = orch.scope("inner");
    return orch.submit(sub).result<std::array<char, 80>>();
  });
  const auto scope = cluster.run([&](Orchestrator& orch) {
    const Scope outer = orch.scope("outer");
    return orch.submit(at_host, {}, {.worker = orch.worker(1)}).result<std::array<char, 80>>();
  });
  EXPECT_STREQ(scope.data(), "outer/inner");
}

// --- the path of an error
// -------------------------------------------------------------------------

TEST_F(Hierarchy, AnErrorOfTheDeepestSubIsToldWhole) {
  const SubHandle broken = cluster.register_sub(
      "broken", [](Task&) { throw std::runtime_error("the deepest sub breaks"); });
  const OrchHandle descent = register_descent([=](Orchestrator& orch, TaskArgs&) {
    if (orch.level() == 3) orch.submit(broken);
  });
  const Error error = thrown<TaskFailed>([&] { run_descent(descent); });

  EXPECT_EQ(error.code(), Code::kAborted);
  EXPECT_EQ(error.reason(), Reason::kException);
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.cause(), Cause::kException);
  EXPECT_EQ(error.message(), "std::runtime_error: the deepest sub breaks");
  EXPECT_EQ(error.path(), std::string(kHost) + "/sub0");
  EXPECT_EQ(error.callable(), "broken");
  EXPECT_EQ(error.pid(), pid_at(cluster.tree(), error.path()));
  EXPECT_EQ(error.info().host, machine_name());
  EXPECT_EQ(error.info().digest.size(), 64u);
  EXPECT_THAT(error.info().time_in_phase, Gt(0ns));
  EXPECT_THAT(error.others(), IsEmpty());
  EXPECT_THAT(error.what(), AllOf(HasSubstr(error.path()), HasSubstr("callable broken"),
                                  HasSubstr("running"), HasSubstr("exception")));
}

TEST_F(Hierarchy, AnErrorOfTheDeepestChipIsToldWhole) {
  const ChipHandle fail = register_kernel(cluster, "fail");
  const OrchHandle descent = register_descent([=](Orchestrator& orch, TaskArgs&) {
    if (orch.level() == 3) orch.submit(fail);
  });
  const Error error = thrown<TaskFailed>([&] { run_descent(descent); });

  EXPECT_EQ(error.code(), Code::kAborted);
  EXPECT_EQ(error.reason(), Reason::kException);
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.cause(), Cause::kException);
  EXPECT_THAT(error.message(), HasSubstr("the kernel gives up"));
  EXPECT_EQ(error.path(), std::string(kHost) + "/chip0");
  EXPECT_EQ(error.callable(), "fail");
  EXPECT_EQ(error.pid(), pid_at(cluster.tree(), error.path()));
  EXPECT_EQ(error.info().host, machine_name());
  EXPECT_THAT(error.others(), IsEmpty());
}

TEST_F(Hierarchy, AnErrorOfAnOrchestrationFunctionNamesItsWorker) {
  const OrchHandle descent = register_descent([](Orchestrator& orch, TaskArgs&) {
    if (orch.level() == 4) throw std::logic_error("the pod does not know how");
  });
  const Error error = thrown<TaskFailed>([&] { run_descent(descent); });

  EXPECT_EQ(error.message(), "std::logic_error: the pod does not know how");
  EXPECT_EQ(error.path(), "cluster0/supernode0/pod0");
  EXPECT_EQ(error.callable(), "descent");
  EXPECT_EQ(error.pid(), pid_at(cluster.tree(), error.path()));
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.cause(), Cause::kException);
  EXPECT_EQ(error.reason(), Reason::kException);
}

TEST_F(Hierarchy, AnErrorCaughtByALevelInBetweenIsItsOwnAffair) {
  const SubHandle broken =
      cluster.register_sub("broken", [](Task&) { throw std::runtime_error("no"); });
  const OrchHandle tries = cluster.register_orch("tries", [=](Orchestrator& orch) {
    const auto task = orch.submit(broken);
    try {
      task.wait();
    } catch (const TaskFailed& error) {
      return error.path().size();
    }
    return std::size_t{0};
  });
  const auto run = [&] {
    cluster.run(
        [&](Orchestrator& orch) { orch.submit(tries, {}, {.worker = orch.worker(1)}).wait(); });
  };
  // A task that failed is told in its run, whoever looked at it meanwhile.
  const Error error = thrown<TaskFailed>(run);
  EXPECT_EQ(error.path(), "cluster0/lone/sub0");
}

TEST_F(Hierarchy, TheWholeTreeWorksOnAfterAnErrorAtTheBottom) {
  const SubHandle sometimes = cluster.register_sub("sometimes", [](Task& task) {
    if (task.scalar<int>(0) == 1) throw std::runtime_error("odd");
    return task.scalar<int>(0);
  });
  auto self = std::make_shared<OrchHandle>();
  *self = cluster.register_orch("down", [=](Orchestrator& orch, TaskArgs& args) {
    const Args same = Args().scalar(args.scalar<int>(0));
    if (orch.worker_count() != 0) return orch.submit(*self, same).result<int>();
    return orch.submit(sometimes, same).result<int>();
  });
  const auto run = [&](int value) {
    return cluster.run([&](Orchestrator& orch) {
      return orch.submit(*self, Args().scalar(value), {.worker = orch.worker(0)}).result<int>();
    });
  };
  const Error error = thrown<TaskFailed>([&] { run(1); });
  EXPECT_EQ(error.message(), "std::runtime_error: odd");
  EXPECT_THAT(error.others(), IsEmpty());
  EXPECT_EQ(run(2), 2);
}

}  // namespace
}  // namespace echelon::tree_test
