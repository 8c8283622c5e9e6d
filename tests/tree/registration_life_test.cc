// SPDX-License-Identifier: Apache-2.0
//
// The life of late callables (C4-C6): counted, unregistered, their slots given out again; children
// that are busy, silent or dead meanwhile.
#include <echelon/echelon.h>
#include <echelon/embedding.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "named_functions.h"
#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::int64_t run_sub(Worker& worker, SubHandle handle, std::int64_t value) {
  return worker.run([&](Orchestrator& orch) {
    return orch.submit(handle, Args().scalar(value)).result<std::int64_t>();
  });
}

/// Registers by `make` until the slot `wanted` comes, which it does once all have forgotten what it
/// held before; the others are unregistered again.
template <class Make>
auto in_slot(Worker& worker, std::uint32_t wanted, Make make) {
  auto handle = make();
  EXPECT_TRUE(eventually([&] {
    if (handle.ref().number == wanted) return true;
    worker.unregister(handle);
    handle = make();
    return handle.ref().number == wanted;
  }));
  return handle;
}

// --- counting and taking back
// ----------------------------------------------------------------------

TEST(LateLife, TheSameContentIsOneCallableUntilItsLastUnregister) {
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  const SubHandle first = host.register_sub("late add");
  const SubHandle second = host.register_sub("late add");
  EXPECT_EQ(first.ref().serial, second.ref().serial);
  host.unregister(first);
  EXPECT_EQ(run_sub(host, second, 1), 2);
  host.unregister(second);
  EXPECT_THAT(thrown<StaleHandle>([&] { run_sub(host, second, 1); }).message(),
              HasSubstr("was unregistered"));
  EXPECT_THAT(thrown<StaleHandle>([&] { host.unregister(first); }).message(),
              HasSubstr("was unregistered already"));
}

TEST(LateLife, UnregisteringOnAnotherWorkerIsRefused) {
  Worker pod({.level = 4, .name = "pod0", .sub_workers = 1});
  Worker host({.level = 3, .name = "host0", .sub_workers = 1});
  pod.add_worker(host);
  pod.start();
  const SubHandle late = pod.register_sub("late add");
  const auto error = thrown<InvalidArgument>([&] { host.unregister(late); });
  EXPECT_EQ(error.reason(), Reason::kForeignHandle);
  EXPECT_THAT(error.message(), HasSubstr("was not registered on host0"));
  thrown<InvalidArgument>([&] { pod.unregister(SubHandle()); });
}

TEST(LateLife, WhatWasSubmittedFinishesAfterUnregister) {
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  const SubHandle spin = host.register_sub("late spin");
  const SubHandle add = host.register_sub("late add");
  std::int64_t result = 0;
  echelon::Run first = host.submit([&](Orchestrator& orch) { orch.submit(spin); });
  std::jthread waiter([&] {
    host.run([&](Orchestrator& orch) {
      const auto task = orch.submit(add, Args().scalar(std::int64_t{1}));
      host.unregister(add);
      EXPECT_THROW(orch.submit(add, Args().scalar(std::int64_t{1})), StaleHandle);
      host.unregister(spin);
      first.cancel();
      result = task.result<std::int64_t>();
    });
  });
  waiter.join();
  EXPECT_EQ(result, 2);
  EXPECT_THROW(first.wait(), Cancelled);
}

TEST(LateLife, AHandleInALowerWorkerIsRefusedThereAfterUnregister) {
  Worker pod({.level = 4, .name = "pod0"});
  pod.add_worker(Worker({.level = 3, .name = "host0", .sub_workers = 1}));
  const OrchHandle pass_on = pod.register_orch("pass on", [](Orchestrator& orch, TaskArgs& args) {
    orch.submit(args.callable<SubHandle>(0));
  });
  pod.start();
  const SubHandle late = pod.register_sub("late where");
  const auto submit_below = [&] {
    pod.run([&](Orchestrator& orch) { orch.submit(pass_on, Args().callable(late)); });
  };
  submit_below();
  pod.unregister(late);
  // The news goes down by itself.
  EXPECT_TRUE(eventually([&] {
    try {
      submit_below();
      return false;
    } catch (const StaleHandle& error) {
      return error.path() == "pod0/host0";
    }
  }));
}

// --- slots
// -----------------------------------------------------------------------------------------

ChipImage kernel(const char* name) {
  return ChipImage::from_file(ECHELON_TREE_KERNELS, name);
}

TEST(LateLife, ASlotGivenOutAgainReachesOnlyTheNewCallable) {
  Worker host({.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}}});
  host.start();
  const Tensor x = host.tensor<float>({2});
  const SubHandle add = host.register_sub("late add");
  const std::uint32_t slot = add.ref().number;
  for (int round = 0; round < 5; ++round) {
    const SubHandle twice = [&] {
      if (round == 0) host.unregister(add);
      return in_slot(host, slot, [&] { return host.register_sub("late twice"); });
    }();
    EXPECT_EQ(run_sub(host, twice, 21), 42);
    host.unregister(twice);
    for (const char* name : {"scale", "report_launch"}) {
      const ChipHandle chip =
          in_slot(host, slot, [&] { return host.register_chip(name, kernel(name)); });
      if (name == std::string("scale")) {
        for (float& value : x.data<float>()) value = 1;
        host.run(
            [&](Orchestrator& orch) { orch.submit(chip, Args().input(x).output(x).scalar(4.0f)); });
        EXPECT_THAT(floats(x), ElementsAre(4, 4));
      } else {
        const Tensor out = host.tensor<std::int64_t>({6});
        host.run([&](Orchestrator& orch) { orch.submit(chip, Args().output(out)); });
        EXPECT_EQ(out.data<const std::int64_t>()[5], -1);
      }
      host.unregister(chip);
      thrown<StaleHandle>([&] { host.run([&](Orchestrator& orch) { orch.submit(chip); }); });
    }
    thrown<StaleHandle>([&] { run_sub(host, add, 1); });
  }
}

TEST(LateLife, BelowAPodASlotGoesFromSubToChipToOrch) {
  Worker pod({.level = 4, .name = "pod0"});
  Worker host({.level = 3, .name = "host0", .sub_workers = 1, .chips = {{"cpu", 0}}});
  pod.add_worker(host);
  const OrchHandle as_sub = pod.register_orch("as sub", [](Orchestrator& orch, TaskArgs& args) {
    return orch.submit(args.callable<SubHandle>(0)).result<Place>();
  });
  const OrchHandle as_chip = pod.register_orch("as chip", [](Orchestrator& orch, TaskArgs& args) {
    orch.submit(args.callable<ChipHandle>(0), Args().output(args.handle(0)));
  });
  pod.start();
  const Tensor out = pod.tensor<std::int64_t>({6});
  const SubHandle first = pod.register_sub("late where");
  const std::uint32_t slot = first.ref().number;
  pod.unregister(first);
  for (int round = 0; round < 3; ++round) {
    const auto sub = in_slot(pod, slot, [&] { return pod.register_sub("late where"); });
    EXPECT_EQ(pod.run([&](Orchestrator& orch) {
                   return orch.submit(as_sub, Args().callable(sub)).result<Place>();
                 })
                  .text(),
              "pod0/host0/sub0");
    pod.unregister(sub);
    const auto chip =
        in_slot(pod, slot, [&] { return pod.register_chip("report", kernel("report_launch")); });
    pod.run([&](Orchestrator& orch) { orch.submit(as_chip, Args().callable(chip).output(out)); });
    EXPECT_EQ(out.data<const std::int64_t>()[5], -1);
    pod.unregister(chip);
    const auto orch_where =
        in_slot(pod, slot, [&] { return pod.register_orch("late orch where"); });
    EXPECT_EQ(
        pod.run([&](Orchestrator& orch) { return orch.submit(orch_where).result<Place>(); }).text(),
        "pod0/host0");
    pod.unregister(orch_where);
    // None of the former handles means the new one.
    thrown<Error>([&] {
      pod.run([&](Orchestrator& orch) { orch.submit(as_sub, Args().callable(sub)).wait(); });
    });
  }
}

// --- children that do not answer
// -------------------------------------------------------------------

TEST(LateLife, AChildInALongTaskStillAcknowledges) {
  Worker host({.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}}});
  const SubHandle deaf = host.register_sub("deaf", [](Task& task) {
    while (!task.cancelled()) std::this_thread::sleep_for(1ms);
  });
  host.start();
  echelon::Run busy = host.submit([&](Orchestrator& orch) { orch.submit(deaf); });
  const SubHandle add = host.register_sub("late add");
  EXPECT_FALSE(busy.done());
  busy.cancel();
  EXPECT_THROW(busy.wait(), Cancelled);
  EXPECT_EQ(run_sub(host, add, 1), 2);
}

class StoppedChild : public testing::Test {
 protected:
  StoppedChild() {
    pod.add_worker(host);
    pod.start();
    stopped = static_cast<pid_t>(pid_at(pod.tree(), "pod0/host0/sub1"));
  }
  ~StoppedChild() override { ::kill(stopped, SIGCONT); }

  Worker pod{{.level = 4, .name = "pod0"}};
  Worker host{{.level = 3, .name = "host0", .sub_workers = 2}};
  pid_t stopped = 0;
};

TEST_F(StoppedChild, IsNamedWhenTheTimeIsUpAndNeverGivenThatSlotAgain) {
  ::kill(stopped, SIGSTOP);
  const auto error =
      thrown<RegistrationFailed>([&] { pod.register_sub("late add", {.timeout = 300ms}); });
  EXPECT_EQ(error.others()[0].path, "pod0/host0/sub1");
  EXPECT_EQ(error.others()[0].pid, stopped);
  EXPECT_EQ(error.others()[0].code, Code::kDeadlineExceeded);
  EXPECT_THAT(error.message(), HasSubstr("did not answer in time"));
  EXPECT_THAT(pod.describe(), HasSubstr("in doubt about slot 0 (late add)"));
  const auto next =
      thrown<RegistrationFailed>([&] { pod.register_sub("late twice", {.timeout = 300ms}); });
  EXPECT_THAT(next.message(),
              HasSubstr("in doubt: pod0/host0/sub1 has not confirmed that it "
                        "forgot \"late add\", whose slot 0 is not given out again"));
}

TEST_F(StoppedChild, ThatGoesOnConfirmsAndIsInDoubtNoMore) {
  ::kill(stopped, SIGSTOP);
  thrown<RegistrationFailed>([&] { pod.register_sub("late add", {.timeout = 300ms}); });
  ::kill(stopped, SIGCONT);
  EXPECT_TRUE(eventually([&] { return pod.describe().find("in doubt") == std::string::npos; }));
  const SubHandle late = pod.register_sub("late where");
  EXPECT_EQ(late.ref().number, std::uint32_t{1} << 31);
}

TEST_F(StoppedChild, ThatDiesMeanwhileIsItsAnswer) {
  ::kill(stopped, SIGSTOP);
  std::jthread killer([&] {
    std::this_thread::sleep_for(50ms);
    ::kill(stopped, SIGKILL);
  });
  const auto error = thrown<RegistrationFailed>([&] { pod.register_sub("late where"); });
  EXPECT_EQ(error.others()[0].path, "pod0/host0/sub1");
  EXPECT_EQ(error.others()[0].code, Code::kUnavailable);
  EXPECT_THAT(error.others()[0].message, HasSubstr("SIGKILL"));
  // The others go on, and the dead one is not asked again.
  const SubHandle late = pod.register_sub("late where");
  pod.unregister(late);
  EXPECT_THAT(pod.describe(), Not(HasSubstr("in doubt")));
}

TEST_F(StoppedChild, DoesNotHoldUpClose) {
  ::kill(stopped, SIGSTOP);
  std::jthread registering(
      [&] { thrown<RegistrationFailed>([&] { pod.register_sub("late add"); }); });
  std::this_thread::sleep_for(50ms);
  pod.close();
}

// --- many
// ------------------------------------------------------------------------------------------

/// Descriptors and pages of all processes of the tree, this one's included.
struct Used {
  std::size_t descriptors = 0;
  std::size_t resident_pages = 0;
};
Used used_by(pid_t pid) {
  Used used;
  const std::string root = "/proc/" + std::to_string(pid);
  for (const auto& entry : std::filesystem::directory_iterator(root + "/fd")) {
    static_cast<void>(entry);
    ++used.descriptors;
  }
  std::ifstream statm(root + "/statm");
  std::size_t size = 0;
  statm >> size >> used.resident_pages;
  return used;
}

TEST(LateLife, TenThousandAtOnceEachAnswersForItself) {
  const int count = sanitized() ? 1000 : 10'000;
  const auto sub_of = [](Worker& worker, int i) {
    // As a language would: content of its own for each.
    const std::string name = "n" + std::to_string(i);
    embedding::Shipment shipment;
    shipment.form = embedding::Form::kPickle;
    shipment.name = name;
    shipment.payload = std::as_bytes(std::span(name));
    return embedding::ship_sub(worker, shipment, 30s);
  };
  auto language = std::make_shared<embedding::Language>();
  language->load_sub = [](const embedding::Shipment& shipment) -> std::function<void(Task&)> {
    const std::string text(reinterpret_cast<const char*>(shipment.payload.data()),
                           shipment.payload.size());
    return [number = std::stoll(text.substr(1))](Task& task) {
      task.set_result(static_cast<std::int64_t>(number));
    };
  };
  Worker host({.level = 3, .sub_workers = 2, .language = language});
  host.start();
  std::vector<SubHandle> handles;
  for (int i = 0; i < count; ++i) handles.push_back(sub_of(host, i));
  int wrong = 0;
  for (int begin = 0; begin < count; begin += 500) {
    host.run([&](Orchestrator& orch) {
      std::vector<TaskHandle> tasks;
      for (int i = begin; i < begin + 500; ++i) {
        tasks.push_back(orch.submit(handles[static_cast<std::size_t>(i)]));
      }
      for (int i = 0; i < 500; ++i) {
        if (tasks[static_cast<std::size_t>(i)].result<std::int64_t>() != begin + i) ++wrong;
      }
    });
  }
  EXPECT_EQ(wrong, 0);
}

/// Runs `pairs` to warm up and then `count` times, and expects no process of the tree to have
/// grown. A pair that lost a descriptor, or 64 bytes, would be seen.
template <class Pairs>
void expect_no_growth(int warm, int count, Pairs pairs) {
  std::vector<pid_t> processes = descendants_of(::getpid());
  processes.push_back(::getpid());
  pairs(warm);
  std::vector<Used> before;
  for (const pid_t pid : processes) before.push_back(used_by(pid));
  pairs(count);
  for (std::size_t i = 0; i < processes.size(); ++i) {
    const Used after = used_by(processes[i]);
    EXPECT_LE(after.descriptors, before[i].descriptors) << name_of(processes[i]);
    if (sanitized()) continue;
    EXPECT_LE(after.resident_pages, before[i].resident_pages + 256) << name_of(processes[i]);
  }
}

/// All have forgotten what came before: the first slot comes again.
void wait_until_confirmed(Worker& worker) {
  worker.unregister(
      in_slot(worker, std::uint32_t{1} << 31, [&] { return worker.register_sub("late where"); }));
}

TEST(LateLife, AHundredThousandPairsOfRegisterAndUnregisterLeakNothing) {
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  expect_no_growth(2'000, sanitized() ? 2'000 : 100'000, [&](int times) {
    for (int i = 0; i < times; ++i) {
      host.unregister(host.register_sub(i % 2 == 0 ? "late add" : "late twice"));
    }
    wait_until_confirmed(host);
  });
}

TEST(LateLife, PairsOfEachKindLeakNothingBelowAPod) {
  Worker pod({.level = 4, .name = "pod0", .sub_workers = 1});
  Worker host({.level = 3, .name = "host0", .sub_workers = 1, .chips = {{"cpu", 0}}});
  pod.add_worker(host);
  pod.start();
  expect_no_growth(200, sanitized() ? 200 : 2'000, [&](int times) {
    for (int i = 0; i < times; ++i) {
      pod.unregister(pod.register_sub("late add"));
      host.unregister(host.register_sub("late add"));
      pod.unregister(pod.register_orch("late orch where"));
      pod.unregister(pod.register_chip("scale", kernel("scale")));
      if (i % 16 == 0) pod.unregister(pod.register_library(ECHELON_TREE_LIBRARY));
    }
    wait_until_confirmed(pod);
  });
}

}  // namespace
}  // namespace echelon::tree_test
