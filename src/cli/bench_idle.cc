// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <map>

#include "cli/bench.h"
#include "cli/bench_tree.h"
#include "cli/floor.h"
#include "cli/idle_watch.h"
#include "cli/process_tree.h"
#include "cli/stopwatch.h"

namespace echelon::cli {
namespace {

using std::chrono::milliseconds;

constexpr double kCpuPercentMax = 0.1;

void collect_paths(const NodeInfo& node, std::map<std::int64_t, std::string>& paths) {
  paths[node.pid] = node.path;
  for (const NodeInfo& child : node.children) collect_paths(child, paths);
}

/// Every process of the tree, this one included, with what it is called and has used so far.
std::vector<ProcessUse> processes_of(const Worker& pod) {
  std::map<std::int64_t, std::string> paths;
  collect_paths(pod.tree(), paths);
  std::vector<ProcessUse> processes;
  for (const ProcessStat& process : process_tree(getpid())) {
    const auto path = paths.find(process.pid);
    const auto owner = paths.find(process.parent);
    std::string name = process.command;
    if (path != paths.end())
      name = path->second;
    else if (owner != paths.end())
      name = "spawner of " + owner->second;
    processes.push_back({.pid = process.pid, .name = std::move(name)});
  }
  return processes;
}

}  // namespace

Report bench_idle(const BenchOptions& options, Progress& progress) {
  Report report =
      make_report("idle", "L4, two L3, four chips, two sub-workers without work", options);
  {
    FloorMeter floor;
    floor.round(options.choose(2000u, 100u));
    report.add(floor_figure(floor));
  }
  BenchTree tree;
  tree.pod.start();
  tree.pod.run([&tree](Orchestrator& orch) {
    for (std::size_t i = 0; i < orch.worker_count(); ++i)
      orch.submit(tree.visit, {}, {.worker = orch.worker(i)});
  });
  std::vector<ProcessUse> processes = processes_of(tree.pod);
  const milliseconds duration = options.choose(milliseconds(10'000), milliseconds(300));
  progress.say(fmt::format("idle: {} s without work", duration.count() / 1000.0));
  // Long enough for every process to have gone to sleep after its last task.
  pause_for(options.choose(milliseconds(1000), milliseconds(100)));
  watch_idle(processes, duration);

  const ProcessUse& most = busiest(processes);
  report.add({"cpu_percent_max", fmt::format("most of a core used by one process ({})", most.name),
              Unit::kPercent, most.cpu_percent, Target::at_most(kCpuPercentMax)});
  double sum = 0;
  for (const ProcessUse& process : processes) sum += process.cpu_percent;
  report.add({"cpu_percent_sum", fmt::format("all {} processes together", processes.size()),
              Unit::kPercent, sum});
  report.more["seconds"] = static_cast<double>(duration.count()) / 1000;
  report.more["processes"] = to_json(processes);
  return report;
}

}  // namespace echelon::cli
