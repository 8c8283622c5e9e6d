// SPDX-License-Identifier: Apache-2.0
//
// What careless programs do: cancel while others wait, use what was moved from, wait for ever in
// nanoseconds, run without stdin, stdout and stderr.
#include <echelon/echelon.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "thrown.h"

namespace echelon {
namespace {

using testing::HasSubstr;
using tree_test::thrown;

TEST(Careless, ACancelFromAnotherThreadEndsEveryWait) {
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle stop = host.register_sub("stop", [](Task& task) {
    while (!task.cancelled()) std::this_thread::yield();
  });
  host.start();
  for (int round = 0; round < 300; ++round) {
    const echelon::Run run = host.submit([&](Orchestrator& orch) {
      orch.submit(stop);
      orch.submit(stop);
    });
    std::thread other([run] { run.cancel(); });
    EXPECT_THROW(run.wait(), Cancelled);
    other.join();
  }
}

TEST(Careless, AWaitAsLongAsThereAreNanosecondsIsForEver) {
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle empty = host.register_sub("empty", [](Task&) {});
  const echelon::Run run = host.submit([&](Orchestrator& orch) { orch.submit(empty); });
  EXPECT_TRUE(run.wait_for(std::chrono::nanoseconds::max()));
  EXPECT_TRUE(run.wait_for(std::chrono::hours::max()));
}

TEST(Careless, ForEverIsALegalTimeToStartIn) {
  Worker host({.level = 3,
               .sub_workers = 1,
               .start_deadline = std::chrono::milliseconds::max(),
               .unresponsive_after = std::chrono::milliseconds::max()});
  host.start();
  EXPECT_TRUE(host.started());
}

TEST(Careless, NoTimeToStartInIsRefused) {
  const Error error = thrown<InvalidArgument>(
      [] { Worker({.level = 3, .start_deadline = std::chrono::milliseconds(-1)}); });
  EXPECT_THAT(error.message(), HasSubstr("start_deadline"));
}

TEST(Careless, AWorkerThatWasMovedFromIsRefused) {
  Worker host({.level = 3, .sub_workers = 1});
  const Worker taken = std::move(host);
  const Error error = thrown<WrongState>([&] { host.start(); });  // NOLINT: that is the point
  EXPECT_EQ(error.message(), "this Worker was moved from");
  host.close();
}

TEST(Careless, AChildIsToldWhoseChildItIs) {
  Worker pod({.level = 4, .name = "pod"});
  Worker host({.level = 3, .name = "host", .sub_workers = 1});
  pod.add_worker(host);
  EXPECT_THAT(thrown<WrongState>([&] { host.start(); }).message(),
              HasSubstr("host is a child of pod;"));
}

TEST(Careless, AProgramWithoutStdioCanStartATree) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
    int result = 1;
    try {
      Worker host({.level = 3, .sub_workers = 2});
      const SubHandle seven = host.register_sub("seven", [](Task&) { return 7; });
      result = host.run([&](Orchestrator& orch) { return orch.submit(seven).result<int>(); }) - 7;
    } catch (const Error&) {
      result = 2;
    }
    ::_exit(result);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace echelon
