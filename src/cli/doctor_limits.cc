// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "cli/doctor.h"
#include "cli/proc_text.h"

namespace echelon::cli {
namespace {

/// A full Worker: 256 sub-workers with two threads each, its chips and spawner.
constexpr std::uint64_t kProcessesWanted = 1024;
constexpr std::uint64_t kProcessesNeeded = 64;
constexpr std::uint64_t kFilesWanted = 1024;
constexpr std::uint64_t kFilesNeeded = 128;

std::optional<std::uint64_t> soft_limit(int resource) {
  rlimit limit{};
  getrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

/// Of the whole machine; an upper bound of this user's.
std::uint64_t threads_running() {
  const std::string text = read_text("/proc/loadavg").value_or("");
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) return 0;
  const std::size_t space = text.find(' ', slash);
  return static_cast<std::uint64_t>(
      parse_number(text.substr(slash + 1, space - slash - 1)).value_or(0));
}

Finding check_user_processes() {
  if (geteuid() == 0)
    return {Verdict::kOk, "no limit for this user (ulimit -u does not bind root)"};
  return judge_processes("ulimit -u", soft_limit(RLIMIT_NPROC), threads_running());
}

Finding check_group_processes() {
  const auto limit = parse_number(read_cgroup_file("pids", "pids.max", "pids.max").value_or(""));
  const auto used =
      parse_number(read_cgroup_file("pids", "pids.current", "pids.current").value_or(""));
  if (!limit) return judge_processes("pids.max", std::nullopt, 0);
  return judge_processes("pids.max", static_cast<std::uint64_t>(*limit),
                         static_cast<std::uint64_t>(used.value_or(0)));
}

Finding check_open_files() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return judge_open_files(limit.rlim_cur, limit.rlim_max);
}

constexpr Check kChecks[] = {
    {"Limits", "user's processes", check_user_processes},
    {"Limits", "control group's processes", check_group_processes},
    {"Limits", "open files", check_open_files},
};

}  // namespace

std::span<const Check> limit_checks() {
  return kChecks;
}

Finding judge_processes(const char* limit_name, std::optional<std::uint64_t> limit,
                        std::uint64_t used) {
  if (!limit) return {Verdict::kOk, fmt::format("no limit ({})", limit_name)};
  const std::uint64_t left = *limit - std::min(*limit, used);
  Finding finding{Verdict::kOk, fmt::format("{} more processes and threads ({} is {})", left,
                                            limit_name, *limit)};
  if (left < kProcessesWanted) {
    finding.verdict = left < kProcessesNeeded ? Verdict::kFail : Verdict::kWarn;
    finding.advice = fmt::format("each child takes two or three: raise {}", limit_name);
  }
  return finding;
}

Finding judge_open_files(std::uint64_t soft, std::uint64_t hard) {
  Finding finding{Verdict::kOk, fmt::format("{} a process (ulimit -n)", soft)};
  if (soft < kFilesWanted) {
    finding.verdict = soft < kFilesNeeded ? Verdict::kFail : Verdict::kWarn;
    finding.advice = hard > soft ? fmt::format("a child takes four: ulimit -n {}", hard)
                                 : "a child takes four: raise the hard limit";
  }
  return finding;
}

}  // namespace echelon::cli
