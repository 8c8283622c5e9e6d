// SPDX-License-Identifier: Apache-2.0
#include "cli/process_tree.h"

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <utility>

namespace echelon::cli {

std::vector<ProcessStat> descendants(std::vector<ProcessStat> all, std::int64_t root) {
  std::sort(all.begin(), all.end(),
            [](const ProcessStat& a, const ProcessStat& b) { return a.pid < b.pid; });
  std::vector<ProcessStat> tree;
  for (const ProcessStat& process : all) {
    if (process.pid == root) tree.push_back(process);
  }
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const std::int64_t parent = tree[i].pid;
    for (const ProcessStat& process : all) {
      if (process.parent == parent && process.pid != parent) tree.push_back(process);
    }
  }
  return tree;
}

std::vector<ProcessStat> process_tree(pid_t root) {
  std::vector<ProcessStat> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    if (!parse_number(entry.path().filename().string())) continue;
    auto stat = parse_stat(read_text(entry.path().string() + "/stat").value_or(""));
    if (stat && stat->state != 'Z') all.push_back(std::move(*stat));
  }
  return descendants(std::move(all), root);
}

std::optional<std::uint64_t> cpu_time_ns(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
    return std::nullopt;
  return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(used.tv_nsec);
}

}  // namespace echelon::cli
