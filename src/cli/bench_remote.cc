// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "cli/bench.h"
#include "cli/remote_rig.h"
#include "cli/statistics.h"

namespace echelon::cli {
namespace {

using std::chrono::milliseconds;

constexpr double kRunOneOverStreamMax = 1.5;
constexpr double kTasksPerSecondMin = 80'000;
constexpr double kCopyOverStreamMin = 0.85;
constexpr double kManyOverOneMax = 1.2;
constexpr double kReadyMsMax = 60;
constexpr double kIdleCpuPercentMax = 0.1;

constexpr int kSessions = 64;
constexpr int kQuickSessions = 4;
constexpr unsigned kCopyMebibytes = 64;
constexpr unsigned kQuickCopyMebibytes = 4;
constexpr std::size_t kMebibyte = std::size_t{1} << 20;
/// Tasks of one run where the rate is measured.
constexpr int kRateRunTasks = 8192;
constexpr int kQuickRateRunTasks = 256;
/// Operations before a round counts. The time is that after which waiters, which have just met the
/// floors' processes on their processors, take these for gone.
constexpr int kWarmUp = 30;
constexpr double kWarmUpMs = 25;

/// Medians; none where it was not measured.
struct Measured {
  std::optional<double> tcp_ns, stream_ns;
  std::optional<double> empty_ns, tensor_ns, tasks_per_second;
  std::optional<double> copy_ns, stream_copy_ns;
  std::optional<double> one_session_ns, many_sessions_ns;
  std::optional<double> ready_ms, idle_percent;
};

std::optional<double> over(const std::optional<double>& above, const std::optional<double>& below) {
  if (!above || !below || *below <= 0) return std::nullopt;
  return *above / *below;
}

/// Adds one round's samples of an operation, in nanoseconds.
template <class Operation>
void take_round(std::vector<double>& samples, int count, Operation&& operation) {
  const Stopwatch warm_up;
  for (int i = 0; i < kWarmUp || warm_up.ms() < kWarmUpMs; ++i) operation();
  for (int i = 0; i < count; ++i) {
    const Stopwatch watch;
    operation();
    samples.push_back(watch.ns());
  }
}

/// One empty task, with and without a tensor, in turn with both floors.
void measure_one_task(Measured& measured, RemoteRig& rig, RemotePod& tree,
                      const BenchOptions& options) {
  const int count = options.choose(50, 5);
  const Tensor tensor = tree.pod().remote_tensor<std::uint8_t>(tree.first(), {64});
  std::vector<double> empty, with_tensor;
  for (int round = 0; round < options.choose(60, 2); ++round) {
    rig.tcp().round(static_cast<std::size_t>(count));
    rig.grpc().round(static_cast<unsigned>(count));
    take_round(empty, count, [&] { tree.run_tasks(1); });
    take_round(with_tensor, count, [&] { tree.run_tasks(1, Args().input(tensor)); });
  }
  measured.tcp_ns = rig.tcp().p50();
  measured.stream_ns = rig.grpc().p50();
  measured.empty_ns = median(empty);
  measured.tensor_ns = median(with_tensor);
}

/// All tasks of large runs by all the time that these took.
void measure_rate(Measured& measured, RemotePod& tree, const BenchOptions& options) {
  const int tasks = options.choose(kRateRunTasks, kQuickRateRunTasks);
  const int runs = options.choose(20, 2);
  tree.run_tasks(tasks);
  const Stopwatch watch;
  for (int i = 0; i < runs; ++i) tree.run_tasks(tasks);
  measured.tasks_per_second = static_cast<double>(runs) * tasks / watch.seconds();
}

/// copy_to() in turn with as many bytes over the bare stream; the first of each is not counted.
void measure_copy(Measured& measured, RemoteRig& rig, RemotePod& tree, unsigned mebibytes,
                  const BenchOptions& options) {
  const std::vector<std::byte> bytes(mebibytes * kMebibyte, std::byte{1});
  const Tensor tensor = tree.pod().remote_tensor<std::uint8_t>(
      tree.first(), {static_cast<std::int64_t>(bytes.size())});
  tree.pod().copy_to(tensor, bytes);
  rig.grpc().copy_ns(mebibytes);
  std::vector<double> copies, streams;
  for (int i = 0; i < options.choose(21, 2); ++i) {
    streams.push_back(rig.grpc().copy_ns(mebibytes));
    const Stopwatch watch;
    tree.pod().copy_to(tensor, bytes);
    copies.push_back(watch.ns());
  }
  measured.copy_ns = median(copies);
  measured.stream_copy_ns = median(streams);
}

/// start() of pods whose one child is a session; the last one stays and is watched.
void measure_ready_and_idle(Measured& measured, Report& report, RemoteRig& rig,
                            const BenchOptions& options) {
  const RemotePod::Options host{.sub_workers = 2, .chips = 2};
  std::vector<double> ready;
  for (int i = 0; i < options.choose(20, 1); ++i) {
    pause_for(milliseconds(20));
    ready.push_back(RemotePod(rig.address(), host).start_ms());
  }
  measured.ready_ms = median(ready);

  RemotePod tree(rig.address(), host);
  tree.run_tasks(1);
  std::vector<ProcessUse> processes = rig.processes(tree.pod());
  // Long enough for every process to have gone to sleep after its last task.
  pause_for(options.choose(milliseconds(1000), milliseconds(100)));
  watch_idle(processes, options.choose(milliseconds(10'000), milliseconds(300)));
  measured.idle_percent = busiest(processes).cpu_percent;
  report.more["processes"] = to_json(processes);
}

/// One task to the same session, where it is alone and where it is one of many.
void measure_many_sessions(Measured& measured, RemoteRig& rig, int sessions,
                           const BenchOptions& options) {
  RemotePod alone(rig.address(), {});
  RemotePod one_of_many(rig.address(), {.sessions = sessions});
  const int count = options.choose(50, 5);
  std::vector<double> with_one, with_many;
  for (int round = 0; round < options.choose(30, 2); ++round) {
    take_round(with_one, count, [&] { alone.run_tasks(1); });
    take_round(with_many, count, [&] { one_of_many.run_tasks(1); });
  }
  measured.one_session_ns = median(with_one);
  measured.many_sessions_ns = median(with_many);
}

/// How much there is of what; less with --quick.
struct Amounts {
  int sessions = kSessions;
  unsigned copy_mebibytes = kCopyMebibytes;
};

void add_figures(Report& report, const Measured& measured, const Amounts& amounts) {
  report.add({"tcp_floor_ns_p50", "floor: 64 bytes there and back, polled TCP, p50",
              Unit::kNanoseconds, measured.tcp_ns});
  report.add({"grpc_floor_ns_p50", "floor: the same over a bare gRPC stream, p50",
              Unit::kNanoseconds, measured.stream_ns});
  report.add({"grpc_run_one_over_stream", "run() of one empty task, hot, over the stream's",
              Unit::kTimes, over(measured.empty_ns, measured.stream_ns),
              Target::at_most(kRunOneOverStreamMax)});
  report.add({"grpc_tasks_per_second", "independent tasks, one session", Unit::kPerSecond,
              measured.tasks_per_second, Target::at_least(kTasksPerSecondMin)});
  report.add(
      {"grpc_copy_over_stream",
       fmt::format("rate of copy_to() of {} MiB over a bare gRPC stream's", amounts.copy_mebibytes),
       Unit::kTimes, over(measured.stream_copy_ns, measured.copy_ns),
       Target::at_least(kCopyOverStreamMin)});
  report.add({"tensor_run_one_over_empty",
              "run() of one task with a remote tensor over one without", Unit::kTimes,
              over(measured.tensor_ns, measured.empty_ns)});
  report.add({"dispatch_64_sessions_over_1",
              fmt::format("run() of one task with {} sessions over one with 1", amounts.sessions),
              Unit::kTimes, over(measured.many_sessions_ns, measured.one_session_ns),
              Target::at_most(kManyOverOneMax)});
  report.add({"ready_ms_p50", "start() with a session of 2 sub-workers and 2 cpu chips, p50",
              Unit::kMilliseconds, measured.ready_ms, Target::at_most(kReadyMsMax)});
  report.add({"idle_cpu_percent_max", "most of a core used by one idle process", Unit::kPercent,
              measured.idle_percent, Target::at_most(kIdleCpuPercentMax)});
}

/// What ratios were made of: for people as a note, in JSON under "parts".
void add_parts(Report& report, const Measured& measured, const Amounts& amounts) {
  report.notes.push_back(fmt::format(
      "one empty task {}, with a tensor {}, with {} sessions {}; {} MiB {}, over the stream {}",
      format_value(measured.empty_ns, Unit::kNanoseconds),
      format_value(measured.tensor_ns, Unit::kNanoseconds), amounts.sessions,
      format_value(measured.many_sessions_ns, Unit::kNanoseconds), amounts.copy_mebibytes,
      format_value(measured.copy_ns, Unit::kNanoseconds),
      format_value(measured.stream_copy_ns, Unit::kNanoseconds)));
  report.more["parts"] = {{"empty_ns_p50", *measured.empty_ns},
                          {"tensor_ns_p50", *measured.tensor_ns},
                          {"one_session_ns_p50", *measured.one_session_ns},
                          {"many_sessions_ns_p50", *measured.many_sessions_ns},
                          {"sessions", amounts.sessions},
                          {"copy_ns_p50", *measured.copy_ns},
                          {"stream_copy_ns_p50", *measured.stream_copy_ns}};
}

}  // namespace

Report bench_remote(const BenchOptions& options, Progress& progress) {
  Report report =
      make_report("remote", "a Worker behind a daemon on loopback, without TLS", options);
  const Amounts amounts{options.choose(kSessions, kQuickSessions),
                        options.choose(kCopyMebibytes, kQuickCopyMebibytes)};
  Measured measured;
  Result<RemoteRig> rig = RemoteRig::start();
  if (!rig.ok()) {
    if (rig.status().code() != Code::kNotFound) throw std::runtime_error(rig.status().to_string());
    // As in a Python package, which brings no transport.
    add_figures(report, measured, amounts);
    report.notes.push_back("not measured: " + rig.status().info().message);
    return report;
  }
  {
    RemotePod tree(rig->address(), {.memory_bytes = 2 * kCopyMebibytes * kMebibyte});
    progress.say("remote: one task");
    measure_one_task(measured, *rig, tree, options);
    progress.say("remote: many tasks");
    measure_rate(measured, tree, options);
    progress.say("remote: copies");
    measure_copy(measured, *rig, tree, amounts.copy_mebibytes, options);
  }
  progress.say("remote: starts and idleness");
  measure_ready_and_idle(measured, report, *rig, options);
  progress.say(fmt::format("remote: {} sessions", amounts.sessions));
  measure_many_sessions(measured, *rig, amounts.sessions, options);
  add_figures(report, measured, amounts);
  add_parts(report, measured, amounts);
  return report;
}

}  // namespace echelon::cli
