// SPDX-License-Identifier: Apache-2.0
#include <echelon/echelon.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <new>
#include <stdexcept>
#include <thread>

#include "base/syscall.h"
#include "cli/anonymous_memory.h"
#include "cli/bench.h"
#include "cli/floor.h"
#include "cli/statistics.h"
#include "cli/stopwatch.h"

namespace echelon::cli {
namespace {

constexpr double kDeathMsMax = 10;
constexpr std::size_t kHeldBytes = 1'000'000'000;
constexpr std::size_t kQuickHeldBytes = 16'000'000;
constexpr std::uint64_t kReadyWithinNs = 30'000'000'000;

/// What the victim tells the process that will kill it.
struct VictimData {
  std::atomic<std::uint32_t> pid;
};

/// Takes the memory, says so, and stays. The victim's part.
[[noreturn]] void hold_memory(VictimData& victim, std::size_t bytes) {
  const AnonymousMemory memory(bytes, AnonymousMemory::Kind::kPrivate);
  touch_pages(memory.bytes());
  // Pairs with wait_for_victim(): the memory is there with the pid.
  victim.pid.store(static_cast<std::uint32_t>(getpid()), std::memory_order_release);
  futex_wake(victim.pid, 1);
  for (;;) pause();
}

pid_t wait_for_victim(const VictimData& victim) {
  const std::uint64_t until = now_ns() + kReadyWithinNs;
  for (;;) {
    // Pairs with hold_memory()'s store.
    if (const auto pid = victim.pid.load(std::memory_order_acquire)) return static_cast<pid_t>(pid);
    if (now_ns() > until) throw std::runtime_error("the victim did not take its memory in 30 s");
    futex_wait(victim.pid, 0, until);
  }
}

class Victim {
 public:
  Victim() : memory_(sizeof(VictimData), AnonymousMemory::Kind::kShared) {
    new (memory_.data()) VictimData{};
  }
  VictimData& data() const { return *static_cast<VictimData*>(memory_.data()); }

 private:
  AnonymousMemory memory_;
};

/// From the kill to the failure of the task, the parent being asleep in wait().
double death_ms(std::size_t bytes) {
  const Victim victim;
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle hold = host.register_sub(
      "hold", [&data = victim.data(), bytes](Task&) { hold_memory(data, bytes); });
  host.start();
  const Run run = host.submit([hold](Orchestrator& orch) { orch.submit(hold); });
  const pid_t pid = wait_for_victim(victim.data());
  std::uint64_t killed_at = 0;
  std::thread killer([pid, &killed_at] {
    pause_for(std::chrono::milliseconds(20));  // the main thread falls asleep meanwhile
    killed_at = now_ns();
    kill(pid, SIGKILL);
  });
  std::string failure;
  try {
    run.wait();
  } catch (const Error& error) {
    failure = error.what();
  }
  const std::uint64_t failed_at = now_ns();
  killer.join();
  if (failure.empty()) throw std::runtime_error("the task of a killed child ended well");
  return static_cast<double>(failed_at - killed_at) / 1e6;
}

/// From the kill of a plain process with as much memory to the moment that it can be reaped.
double reap_ms(std::size_t bytes) {
  const Victim victim;
  const pid_t pid = fork();
  if (pid < 0) throw std::runtime_error("fork failed");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    hold_memory(victim.data(), bytes);
  }
  wait_for_victim(victim.data());
  const Stopwatch watch;
  kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
  return watch.ms();
}

}  // namespace

Report bench_death(const BenchOptions& options, Progress& progress) {
  Report report = make_report("death", "SIGKILL of a sub-worker that holds 1 GB", options);
  const int samples = options.choose(9, 1);
  const std::size_t bytes = options.choose(kHeldBytes, kQuickHeldBytes);
  FloorMeter floor;
  std::vector<double> deaths, reaps;
  for (int i = 0; i < samples; ++i) {
    progress.say(fmt::format("death: {} of {}", i + 1, samples));
    floor.round();
    deaths.push_back(death_ms(bytes));
    reaps.push_back(reap_ms(bytes));
  }
  report.add(floor_figure(floor));
  report.add({"ms_p50", "until its task has failed in the parent, p50", Unit::kMilliseconds,
              median(deaths), Target::at_most(kDeathMsMax)});
  report.add({"ms_max", "the same, the slowest", Unit::kMilliseconds, percentile(deaths, 100)});
  report.add({"reap_ms_p50", "floor of the reap: a plain process with as much memory",
              Unit::kMilliseconds, median(reaps)});
  report.more["held_bytes"] = bytes;
  return report;
}

}  // namespace echelon::cli
