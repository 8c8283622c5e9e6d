// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/utsname.h>

#include "cli/doctor.h"
#include "cli/floor.h"
#include "cli/machine.h"
#include "cli/proc_text.h"

namespace echelon::cli {
namespace {

constexpr int kKernelMin = 5016;  // futex_waitv
constexpr double kFloorFarNs = 250;
constexpr double kFloorPoorNs = 2000;

Finding check_kernel() {
  utsname names{};
  uname(&names);
  Finding finding{Verdict::kOk,
                  fmt::format("{} {} on {}", names.sysname, names.release, names.machine)};
  if (kernel_version(names.release) < kKernelMin) {
    finding.verdict = Verdict::kFail;
    finding.advice = "Linux 5.16 or newer is needed, for futex_waitv";
  }
  return finding;
}

Finding check_processors() {
  const auto text = read_cgroup_file("cpu", "cpu.max", "cpu.cfs_quota_us");
  return judge_processors(this_machine().processors,
                          text ? cpu_max_processors(*text) : std::nullopt);
}

Finding check_clock() {
  return judge_clock(
      read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource").value_or(""));
}

Finding check_floor() {
  FloorMeter floor;
  for (int i = 0; i < 5; ++i) floor.round(200);
  const double ns = floor.p50();
  Finding finding{Verdict::kOk, format_value(ns, Unit::kNanoseconds) +
                                    " for 64 bytes from process to process and back"};
  if (ns > kFloorPoorNs) {
    finding.verdict = Verdict::kWarn;
    finding.advice = "two processes share one core, or others compute here: tasks will be slow";
  } else if (ns > kFloorFarNs) {
    finding.found += " (the cores are far apart now)";
  }
  return finding;
}

constexpr Check kChecks[] = {
    {"Machine", "kernel", check_kernel},
    {"Machine", "processors", check_processors},
    {"Machine", "clock", check_clock},
    {"Machine", "floor", check_floor},
};

}  // namespace

std::span<const Check> machine_checks() {
  return kChecks;
}

Finding judge_processors(unsigned usable, std::optional<double> quota) {
  Finding finding{Verdict::kOk, fmt::format("{} that this process may use", usable)};
  if (usable <= 1) {
    finding.verdict = Verdict::kWarn;
    finding.advice =
        "a parent and its child take turns on one processor: expect 4 us and more a task";
  }
  if (quota && *quota < usable) {
    finding.verdict = Verdict::kWarn;
    finding.found += fmt::format(", of which the control group grants the time of {:.2g}", *quota);
    finding.advice = "a process that spins briefly uses up that time: raise the quota (cpu.max)";
  }
  return finding;
}

Finding judge_clock(const std::string& clock_source) {
  if (clock_source.empty()) return {Verdict::kOk, "the kernel does not say where it comes from"};
  for (const char* fast : {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"}) {
    if (clock_source == fast) return {Verdict::kOk, clock_source + ", read without a system call"};
  }
  return {Verdict::kWarn, clock_source + ", which takes a system call to read",
          "each task reads the clock; prefer clocksource=tsc where the machine allows it"};
}

}  // namespace echelon::cli
