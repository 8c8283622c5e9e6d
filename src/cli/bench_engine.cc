// SPDX-License-Identifier: Apache-2.0
//
// The engine without processes: its children are null endpoints, which complete what they are given
// at the next poll. What is timed is what a driving thread does for each task: submit with two
// tensors and a body as a frame would hold it, dispatch, completion, release of what it held.
#include <fmt/format.h>

#include <array>
#include <stdexcept>

#include "cli/bench.h"
#include "cli/floor.h"
#include "cli/statistics.h"
#include "cli/stopwatch.h"
#include "engine/engine.h"
#include "engine/null_endpoint.h"

namespace echelon::cli {
namespace {

constexpr double kTaskNsMax = 400;
constexpr double kTaskBytesMax = 512;
constexpr std::size_t kBuffers = 1024;
constexpr std::int64_t kBufferElements = 256;
constexpr std::size_t kBodyBytes = 8 + 2 * (kTensorWireBytesMin + 16);
constexpr unsigned kSubmitsPerPoll = 8;
constexpr MonotonicNs kNow = 1;  // nothing here has a deadline

struct IgnoreEvents final : EngineListener {
  void on_run_end(RunId, std::uint64_t, const Status&) override {}
  void on_release(std::uint64_t) override {}
};

/// An engine with one null child, and the tensors that its tasks use.
class EngineUnderTest {
 public:
  explicit EngineUnderTest(NullEndpoint::Options options)
      : engine_("bench", {}, events_), child_(ChildIndex{0}, options) {
    engine_.add_child({.name = "null0", .kind = ChildKind::kSub}, child_);
    const std::array<std::int64_t, 1> shape = {kBufferElements};
    for (std::size_t i = 0; i < kBuffers; ++i) {
      const auto buffer = BufferId::make(static_cast<std::uint32_t>(i + 1), 1);
      tensors_[i] =
          make_contiguous(Uid{7}, buffer, Uid{7}, DType::kFloat32, shape, Access::kReadWrite);
    }
  }

  void begin_run() { run_ = engine_.begin_run({}, kNow).value(); }

  /// One task that reads a random buffer and writes another one; false while the tables are full.
  bool try_submit() {
    const std::size_t in = next_random() % kBuffers;
    const std::size_t out = (in + 1 + next_random() % (kBuffers - 1)) % kBuffers;
    const std::array<TaskAccess, 2> accesses = {
        TaskAccess{tensors_[in], Tag::kInput, in + 1, std::nullopt},
        TaskAccess{tensors_[out], Tag::kOutput, out + 1, std::nullopt}};
    TaskSpec spec;
    spec.run = run_;
    spec.slot = CallableSlot{1};
    spec.callable = "empty";
    spec.accesses = accesses;
    spec.body = body_;
    const auto task = engine_.submit(spec, kNow);
    if (!task.ok() && task.status().reason() != Reason::kExhausted)
      throw std::runtime_error(task.status().to_string());
    return task.ok();
  }

  void poll() { engine_.poll(kNow); }

  /// Seals the run, polls until it has ended, and forgets it.
  void end_run() {
    engine_.seal_run(run_, {}, kNow);
    while (!engine_.run_ended(run_)) poll();
    engine_.release_run(run_);
  }

  const Engine& engine() const { return engine_; }

 private:
  /// SplitMix64 with a fixed seed: the same graph in every run.
  std::uint64_t next_random() {
    std::uint64_t z = (seed_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  IgnoreEvents events_;
  Engine engine_;
  NullEndpoint child_;
  std::array<TensorDesc, kBuffers> tensors_;
  std::array<std::byte, kBodyBytes> body_{};
  RunId run_;
  std::uint64_t seed_ = 1;
};

/// Nanoseconds a task of one run of `tasks` tasks.
double task_ns(EngineUnderTest& under_test, unsigned tasks) {
  const Stopwatch watch;
  under_test.begin_run();
  for (unsigned i = 0; i < tasks; ++i) {
    while (!under_test.try_submit()) under_test.poll();
    if (i % kSubmitsPerPoll == 0) under_test.poll();
  }
  under_test.end_run();
  return watch.ns() / tasks;
}

/// Bytes of the engine's tables for each live task, when they are as full as they may be.
double bytes_a_live_task() {
  EngineUnderTest under_test({.manual = true});
  under_test.begin_run();
  while (under_test.try_submit()) continue;
  const auto live = under_test.engine().counters().tasks_live;
  return static_cast<double>(under_test.engine().memory_bytes()) / live;
}

}  // namespace

Report bench_engine(const BenchOptions& options, Progress& progress) {
  Report report = make_report(
      "engine", "empty in-process tasks, one INPUT and one OUTPUT of 1,024 live buffers", options);
  FloorMeter floor;
  const unsigned tasks = options.choose(1'000'000u, 20'000u);
  const int repeats = options.choose(5, 1);
  std::vector<double> samples;
  EngineUnderTest under_test({});
  task_ns(under_test, tasks / 10);
  for (int i = 0; i < repeats; ++i) {
    progress.say(fmt::format("engine: {} of {} runs of {} tasks", i + 1, repeats, tasks));
    floor.round();
    samples.push_back(task_ns(under_test, tasks));
  }
  report.add(floor_figure(floor));
  report.add({"task_ns", fmt::format("a task, median of {} runs", repeats), Unit::kNanoseconds,
              median(samples), Target::at_most(kTaskNsMax)});
  report.add(
      {"task_over_floor", "the same over the floor", Unit::kTimes, median(samples) / floor.p50()});
  report.add({"task_bytes", "memory a live task", Unit::kBytes, bytes_a_live_task(),
              Target::at_most(kTaskBytesMax)});
  report.more["tasks"] = tasks;
  return report;
}

}  // namespace echelon::cli
