// SPDX-License-Identifier: Apache-2.0
#include "cli/idle_watch.h"

#include <algorithm>

#include "cli/process_tree.h"
#include "cli/stopwatch.h"

namespace echelon::cli {

void watch_idle(std::vector<ProcessUse>& processes, std::chrono::milliseconds duration) {
  for (ProcessUse& process : processes)
    process.before_ns = cpu_time_ns(static_cast<pid_t>(process.pid)).value_or(0);
  const Stopwatch watch;
  pause_for(duration);
  const double elapsed_ns = watch.ns();
  for (ProcessUse& process : processes) {
    const auto after = cpu_time_ns(static_cast<pid_t>(process.pid));
    if (!after) continue;
    process.cpu_percent = 100 * static_cast<double>(*after - process.before_ns) / elapsed_ns;
  }
}

const ProcessUse& busiest(const std::vector<ProcessUse>& processes) {
  return *std::max_element(
      processes.begin(), processes.end(),
      [](const ProcessUse& a, const ProcessUse& b) { return a.cpu_percent < b.cpu_percent; });
}

Json to_json(const std::vector<ProcessUse>& processes) {
  Json list = Json::array();
  for (const ProcessUse& process : processes) {
    list.push_back(
        {{"name", process.name}, {"pid", process.pid}, {"cpu_percent", process.cpu_percent}});
  }
  return list;
}

}  // namespace echelon::cli
