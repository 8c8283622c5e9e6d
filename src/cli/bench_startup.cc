// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "cli/anonymous_memory.h"
#include "cli/bench.h"
#include "cli/bench_tree.h"
#include "cli/floor.h"
#include "cli/machine.h"
#include "cli/statistics.h"
#include "cli/stopwatch.h"

namespace echelon::cli {
namespace {

constexpr double kStartMsMax = 100;
constexpr double kPrivateExtraMsMax = 5;
constexpr double kForksMax = 8;
constexpr std::size_t kMemoryBytes = std::size_t{2} << 30;
constexpr std::size_t kQuickMemoryBytes = std::size_t{32} << 20;

/// Time of start(). Rests first: who has just used a processor for long is given it less.
double start_ms(BenchTree& tree) {
  pause_for(std::chrono::milliseconds(20));
  const Stopwatch watch;
  tree.pod.start();
  return watch.ms();
}

/// start() of a fresh tree; its end is not timed.
double start_ms() {
  BenchTree tree;
  return start_ms(tree);
}

/// fork() alone, as the parent sees it.
double fork_ms() {
  const Stopwatch watch;
  const pid_t child = fork();
  if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (child == 0) _exit(0);
  const double ms = watch.ms();
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  return ms;
}

double start_with_tensors_ms(std::size_t bytes) {
  BenchTree tree;
  const Tensor tensor = tree.pod.tensor<std::uint8_t>({static_cast<std::int64_t>(bytes)});
  touch_pages(std::as_writable_bytes(tensor.data<std::uint8_t>().span()));
  return start_ms(tree);
}

double start_with_kept_private_ms(std::size_t bytes) {
  const AnonymousMemory memory(bytes, AnonymousMemory::Kind::kPrivate);
  touch_pages(memory.bytes());
  keep_private(memory.bytes());
  return start_ms();
}

/// Milliseconds of everything that is compared, taken in turn.
struct Samples {
  std::vector<double> start, fork;
  std::vector<double> with_tensors, with_kept_private;
  std::vector<double> with_ordinary, fork_with_ordinary;

  void take_round(std::size_t memory_bytes, int plain_starts) {
    for (int i = 0; i < plain_starts; ++i) {
      fork.push_back(fork_ms());
      start.push_back(start_ms());
    }
    with_tensors.push_back(start_with_tensors_ms(memory_bytes));
    with_kept_private.push_back(start_with_kept_private_ms(memory_bytes));
    const AnonymousMemory memory(memory_bytes, AnonymousMemory::Kind::kPrivate);
    touch_pages(memory.bytes());
    fork_with_ordinary.push_back(fork_ms());
    with_ordinary.push_back(start_ms());
  }
};

void add_figures(Report& report, const Samples& samples) {
  const auto add = [&report](const char* key, const char* what, double ms,
                             std::optional<Target> target = std::nullopt) {
    report.add({key, what, Unit::kMilliseconds, ms, std::move(target)});
  };
  const double plain = median(samples.start);
  const double tensors = median(samples.with_tensors);
  const double kept = median(samples.with_kept_private);
  const double fork_loaded = median(samples.fork_with_ordinary);
  add("ms_p50", "until every process is ready, p50", plain, Target::at_most(kStartMsMax));
  add("fork_ms", "floor: one fork() of the same process", median(samples.fork));
  add("with_2gib_private_ms_p50", "with 2 GiB private: the slower of the next two",
      std::max(tensors, kept), Target::at_most(plain + kPrivateExtraMsMax, "5 ms more"));
  add("with_2gib_tensors_ms_p50", "with 2 GiB in host tensors", tensors);
  add("with_2gib_keep_private_ms_p50", "with 2 GiB under keep_private()", kept);
  add("with_2gib_ms_p50", "with 2 GiB of ordinary memory", median(samples.with_ordinary),
      Target::at_most(plain + kForksMax * fork_loaded, "8 forks more"));
  add("fork_2gib_ms", "floor: one fork() with that memory", fork_loaded);
}

}  // namespace

Report bench_startup(const BenchOptions& options, Progress& progress) {
  Report report =
      make_report("startup", "start() of L4, two L3, four chips, two sub-workers", options);
  const int rounds = options.choose(9, 1);
  const std::size_t memory_bytes = options.choose(kMemoryBytes, kQuickMemoryBytes);
  FloorMeter floor;
  Samples samples;
  for (int i = 0; i < rounds; ++i) {
    progress.say(fmt::format("startup: {} of {}", i + 1, rounds));
    floor.round();
    samples.take_round(memory_bytes, options.choose(3, 1));
  }
  report.add(floor_figure(floor));
  add_figures(report, samples);
  report.more["memory_bytes"] = memory_bytes;
  report.notes.push_back("transparent huge pages: " + this_machine().huge_pages);
  return report;
}

}  // namespace echelon::cli
