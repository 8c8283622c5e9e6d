// SPDX-License-Identifier: Apache-2.0
#include "cli/machine.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>

#include <array>
#include <cstdlib>

#include "base/build_id.h"
#include "cli/proc_text.h"

namespace echelon::cli {
namespace {

unsigned usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  return static_cast<unsigned>(CPU_COUNT(&set));
}

double load_average() {
  double loads[1] = {};
  return getloadavg(loads, 1) == 1 ? loads[0] : 0;
}

}  // namespace

std::string version_text() {
  return ECHELON_VERSION;
}

std::string compiler_text() {
#if defined(__clang__)
  return "clang++ " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

Machine this_machine() {
  utsname names{};
  uname(&names);
  const std::string cpuinfo = read_text("/proc/cpuinfo").value_or("");
  const std::string meminfo = read_text("/proc/meminfo").value_or("");
  Machine machine;
  machine.architecture = names.machine;
  machine.processor = cpuinfo_value(cpuinfo, "model name").value_or(machine.architecture);
  machine.processors = usable_processors();
  machine.kernel = fmt::format("{} {}", names.sysname, names.release);
  machine.memory_bytes = meminfo_bytes(meminfo, "MemTotal").value_or(0);
  const std::string flags = " " + cpuinfo_value(cpuinfo, "flags").value_or("") + " ";
  if (flags.find(" hypervisor ") != std::string::npos) machine.hypervisor = "virtual machine";
  machine.huge_pages =
      bracketed(read_text("/sys/kernel/mm/transparent_hugepage/enabled").value_or(""))
          .value_or("unknown");
  machine.load = load_average();
  machine.version = version_text();
  machine.build = build_id();
  machine.compiler = compiler_text();
  return machine;
}

Json to_json(const Machine& machine) {
  return {{"processor", machine.processor},
          {"processors", machine.processors},
          {"architecture", machine.architecture},
          {"memory_bytes", machine.memory_bytes},
          {"kernel", machine.kernel},
          {"virtual", !machine.hypervisor.empty()},
          {"transparent_huge_pages", machine.huge_pages},
          {"load", machine.load},
          {"version", machine.version},
          {"build", machine.build},
          {"compiler", machine.compiler}};
}

std::string describe(const Machine& machine) {
  std::string text =
      fmt::format("{}, {} processor{}, {}, {} {}", machine.processor, machine.processors,
                  machine.processors == 1 ? "" : "s", format_bytes(machine.memory_bytes),
                  machine.kernel, machine.architecture);
  if (!machine.hypervisor.empty()) text += " (" + machine.hypervisor + ")";
  return text;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) value /= 1024, ++unit;
  const int digits = value < 100 && unit > 0 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, digits, kUnits[unit]);
}

}  // namespace echelon::cli
