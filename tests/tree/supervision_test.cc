// SPDX-License-Identifier: Apache-2.0
//
// Children that stop answering, that touch what was kept from them, and that are many (W5).
#include <echelon/echelon.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <span>

#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

int call(Worker& worker, SubHandle sub, const SubmitOptions& options = {}) {
  return worker.run(
      [&](Orchestrator& orch) { return orch.submit(sub, {}, options).result<int>(); });
}

TEST(Supervision, AStoppedChildFailsItsTaskAndSaysForHowLongItWasSilent) {
  Worker host({.level = 3, .sub_workers = 2, .unresponsive_after = 1s});
  const SubHandle freeze = host.register_sub("freeze", [](Task&) { ::raise(SIGSTOP); });
  const SubHandle seven = host.register_sub("seven", [](Task&) { return 7; });
  host.start();
  const Error error = thrown<Error>([&] {
    host.run([&](Orchestrator& orch) { orch.submit(freeze, {}, {.worker = orch.sub_worker(0)}); });
  });
  EXPECT_EQ(error.path(), "host0/sub0");
  EXPECT_EQ(error.callable(), "freeze");
  EXPECT_THAT(error.what(), HasSubstr("answer"));
  EXPECT_EQ(call(host, seven), 7) << "its sibling goes on";
}

TEST(Supervision, TouchingMemoryThatWasKeptPrivateFailsTheTaskAlone) {
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  void* const at =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(at, MAP_FAILED);
  auto* const bytes = static_cast<volatile char*>(at);
  bytes[0] = 42;
  keep_private(std::span(static_cast<const std::byte*>(at), kBytes));

  Worker host({.level = 3, .sub_workers = 2});
  const SubHandle touch = host.register_sub("touch", [=](Task&) { return int{bytes[0]}; });
  const SubHandle seven = host.register_sub("seven", [](Task&) { return 7; });
  host.start();
  const Error error = thrown<ChildLost>([&] { call(host, touch); });
  EXPECT_EQ(error.callable(), "touch");
  // A sanitizer's handler makes an exit of it.
  EXPECT_THAT(error.what(), HasSubstr(sanitized() ? "exit" : "SIGSEGV"));
  EXPECT_EQ(call(host, seven), 7) << "the other child goes on";
  EXPECT_EQ(bytes[0], 42) << "here it is as it was";
  host.close();
  ::munmap(at, kBytes);
}

TEST(Supervision, MemoryThatIsPrivateNoLongerIsThereInChildrenAgain) {
  std::vector<char> bytes(std::size_t{1} << 20, 'x');
  keep_private(std::as_bytes(std::span(bytes)));
  end_private(std::as_bytes(std::span(bytes)));
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle touch = host.register_sub("touch", [&](Task&) { return int{bytes[1 << 19]}; });
  EXPECT_EQ(call(host, touch), 'x');
}

TEST(Supervision, MoreChildrenThanTheKernelWatchesInOneCallDieAndAreMissedAlike) {
  constexpr int kChildren = 140;  // 125 liveness words go into one futex_waitv beside the others
  Worker host({.level = 3, .sub_workers = kChildren});
  const SubHandle end = host.register_sub("end", [](Task&) { ::raise(SIGKILL); });
  const SubHandle seven = host.register_sub("seven", [](Task&) { return 7; });
  host.start();
  for (const std::size_t child : {std::size_t{0}, std::size_t{kChildren - 1}}) {
    const Error error = thrown<ChildLost>([&] {
      host.run(
          [&](Orchestrator& orch) { orch.submit(end, {}, {.worker = orch.sub_worker(child)}); });
    });
    EXPECT_EQ(error.path(), "host0/sub" + std::to_string(child));
    EXPECT_THAT(error.what(), HasSubstr("SIGKILL"));
  }
  EXPECT_EQ(call(host, seven, {.worker = host.sub_worker(kChildren - 2)}), 7);
}

}  // namespace
}  // namespace echelon::tree_test
