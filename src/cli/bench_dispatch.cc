// SPDX-License-Identifier: Apache-2.0
#include <echelon/echelon.h>
#include <fmt/format.h>

#include <array>

#include "cli/bench.h"
#include "cli/bench_rounds.h"
#include "cli/statistics.h"

namespace echelon::cli {
namespace {

constexpr double kRunOneOverFloorMax = 15;
constexpr double kNearFloorNs = 200;
constexpr double kSlopeNearNsMax = 600;
constexpr double kSlopeFarNsMax = 1000;
constexpr double kTasksPerSecondMin = 1e6;
constexpr double kTasksPerSecondManyMin = 5e5;
constexpr int kManyChildren = 8;
/// Tasks of one run where the rate is measured.
constexpr int kRateRunTasks = 8192;
constexpr std::array kSlopeTasks = {1, 4, 16, 64, 256, 1024};

Rounds one_task_rounds(const BenchOptions& options) {
  return {.rounds = options.choose(100, 2), .samples = options.choose(200, 10)};
}

/// A host with sub-workers that do nothing.
struct EmptyHost {
  explicit EmptyHost(int sub_workers) : host({.level = 3, .sub_workers = sub_workers}) {
    empty = host.register_sub("empty", [](Task&) {});
    host.start();
  }
  void run_tasks(int count) {
    host.run([this, count](Orchestrator& orch) {
      for (int i = 0; i < count; ++i) orch.submit(empty);
    });
  }

  Worker host;
  SubHandle empty;
};

void add_one_task(Report& report, const char* prefix, const char* what,
                  const std::vector<double>& samples) {
  report.add({fmt::format("{}_ns_p50", prefix), fmt::format("{}, p50", what), Unit::kNanoseconds,
              percentile(samples, 50)});
  report.add({fmt::format("{}_ns_p99", prefix), fmt::format("{}, p99", what), Unit::kNanoseconds,
              percentile(samples, 99)});
}

/// Medians of the time of runs of so many tasks; the points that the slope is laid through.
std::vector<Point> median_run_times(FloorMeter& floor, EmptyHost& host,
                                    const BenchOptions& options) {
  std::array<std::vector<double>, kSlopeTasks.size()> samples;
  const int rounds = options.choose(60, 2);
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < kSlopeTasks.size(); ++i) {
      const auto more =
          sample_in_rounds(floor, {.rounds = 1, .warm_up = 5, .samples = options.choose(6, 2)},
                           [&] { host.run_tasks(kSlopeTasks[i]); });
      samples[i].insert(samples[i].end(), more.begin(), more.end());
    }
  }
  std::vector<Point> points;
  for (std::size_t i = 0; i < kSlopeTasks.size(); ++i)
    points.push_back({static_cast<double>(kSlopeTasks[i]), median(samples[i])});
  return points;
}

/// Tasks a second over large runs: all tasks by all the time that their runs took.
double tasks_per_second(FloorMeter& floor, EmptyHost& host, const BenchOptions& options) {
  const int tasks = options.choose(kRateRunTasks, 256);
  const auto samples = sample_in_rounds(
      floor, {.rounds = options.choose(40, 1), .warm_up = 1, .samples = options.choose(5, 2)},
      [&] { host.run_tasks(tasks); });
  double ns = 0;
  for (const double sample : samples) ns += sample;
  return static_cast<double>(samples.size()) * tasks * 1e9 / ns;
}

void measure_one_child(Report& report, FloorMeter& floor, const BenchOptions& options) {
  EmptyHost host(1);
  const auto one =
      sample_in_rounds(floor, one_task_rounds(options), [&host] { host.run_tasks(1); });
  const auto points = median_run_times(floor, host, options);
  const double rate = tasks_per_second(floor, host, options);

  const double floor_ns = floor.p50();
  add_one_task(report, "run_one", "run() of one empty task, hot", one);
  report.add({"run_one_over_floor", "its p50 over the floor", Unit::kTimes, median(one) / floor_ns,
              Target::at_most(kRunOneOverFloorMax)});
  const double slope = fit_line(points).slope;
  const bool near = floor_ns < kNearFloorNs;
  report.add({"task_slope_ns", "each further task of a run", Unit::kNanoseconds, slope,
              Target::at_most(near ? kSlopeNearNsMax : kSlopeFarNsMax,
                              near ? "cores near" : "cores far")});
  report.add({"task_slope_over_floor", "the same over the floor", Unit::kTimes, slope / floor_ns});
  report.add({"tasks_per_second", "independent tasks, one child", Unit::kPerSecond, rate,
              Target::at_least(kTasksPerSecondMin)});
  Json medians = Json::object();
  for (const Point& point : points) medians[fmt::format("{:.0f}", point.x)] = point.y;
  report.more["run_ns_p50_by_tasks"] = std::move(medians);
}

void measure_many_children(Report& report, FloorMeter& floor, const BenchOptions& options) {
  EmptyHost host(kManyChildren);
  report.add({"tasks_per_second_8_children", "independent tasks, 8 children", Unit::kPerSecond,
              tasks_per_second(floor, host, options), Target::at_least(kTasksPerSecondManyMin)});
}

void measure_chip(Report& report, FloorMeter& floor, const BenchOptions& options) {
  std::optional<ChipImage> image;
  try {
    image = ChipImage::from_source("#include <echelon/chip_kernel.h>\nECHELON_KERNEL(empty) {}\n",
                                   "empty");
  } catch (const Error& error) {
    report.add({"chip_run_one_ns_p50", "run() of one chip task", Unit::kNanoseconds, std::nullopt});
    report.notes.push_back(fmt::format("chip tasks were not measured: {}", error.message()));
    return;
  }
  Worker host({.level = 3, .chips = {{"cpu", 0}}});
  const ChipHandle empty = host.register_chip("empty", *image);
  host.start();
  const auto samples = sample_in_rounds(floor, one_task_rounds(options), [&] {
    host.run([empty](Orchestrator& orch) { orch.submit(empty); });
  });
  add_one_task(report, "chip_run_one", "run() of one empty chip task (cpu driver)", samples);
}

void measure_two_levels(Report& report, FloorMeter& floor, const BenchOptions& options) {
  Worker pod({.level = 4});
  const SubHandle empty = pod.register_sub("empty", [](Task&) {});
  const OrchHandle one =
      pod.register_orch("one", [empty](Orchestrator& orch) { orch.submit(empty); });
  pod.add_worker(Worker({.level = 3, .sub_workers = 1}));
  pod.start();
  const auto samples = sample_in_rounds(floor, one_task_rounds(options), [&] {
    pod.run([one](Orchestrator& orch) { orch.submit(one); });
  });
  add_one_task(report, "l4_run_one", "run() of one task, L4 -> L3 -> sub", samples);
}

}  // namespace

Report bench_dispatch(const BenchOptions& options, Progress& progress) {
  Report report = make_report("dispatch", "empty tasks on children that are processes", options);
  FloorMeter floor;
  progress.say("dispatch: one child");
  measure_one_child(report, floor, options);
  progress.say("dispatch: eight children");
  measure_many_children(report, floor, options);
  progress.say("dispatch: a chip");
  measure_chip(report, floor, options);
  progress.say("dispatch: two levels");
  measure_two_levels(report, floor, options);
  report.figures.insert(report.figures.begin(), floor_figure(floor));
  return report;
}

}  // namespace echelon::cli
