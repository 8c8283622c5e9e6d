// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/mapping.h"
#include "base/syscall.h"
#include "cli/doctor.h"
#include "cli/machine.h"
#include "cli/proc_text.h"

namespace echelon::cli {
namespace {

constexpr std::uint64_t kMemoryLow = std::uint64_t{1} << 30;
/// A cgroup without a limit shows a number near 2^63.
constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;
constexpr std::uint64_t kTriedBytes = std::uint64_t{1} << 30;

std::optional<std::uint64_t> limit_in(const std::optional<std::string>& text) {
  const auto number = parse_number(text.value_or(""));
  if (!number || *number < 0 || *number > kNoLimit) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

Finding check_memory() {
  const std::string meminfo = read_text("/proc/meminfo").value_or("");
  const auto limit = limit_in(read_cgroup_file("memory", "memory.max", "memory.limit_in_bytes"));
  const auto used = limit_in(read_cgroup_file("memory", "memory.current", "memory.usage_in_bytes"));
  return judge_memory(meminfo_bytes(meminfo, "MemAvailable").value_or(0), limit, used.value_or(0));
}

Status try_shared_memory() {
  ECHELON_ASSIGN_OR_RETURN(const UniqueFd fd, create_memfd("doctor", kTriedBytes));
  ECHELON_RETURN_IF_ERROR(add_seals(fd.get(), F_SEAL_SHRINK | F_SEAL_GROW));
  ECHELON_ASSIGN_OR_RETURN(const Mapping mapping,
                           Mapping::map(fd.get(), page_bytes(), {.prefault = true}));
  return {};
}

Finding check_shared_memory() {
  const Status status = try_shared_memory();
  if (status.ok()) {
    return {Verdict::kOk, fmt::format("anonymous, sealed segments work (tried {}); the size of "
                                      "/dev/shm does not matter",
                                      format_bytes(kTriedBytes))};
  }
  return {Verdict::kFail, status.info().message,
          "channels and tensors live in memfd segments: allow memfd_create, and files of 1 GiB "
          "(ulimit -f)"};
}

Finding check_overcommit() {
  return judge_overcommit(parse_number(read_text("/proc/sys/vm/overcommit_memory").value_or("")));
}

Finding check_huge_pages() {
  const std::string folder = "/sys/kernel/mm/transparent_hugepage/";
  const auto setting = [&folder](const char* name) {
    return bracketed(read_text(folder + name).value_or("")).value_or("");
  };
  return judge_huge_pages(setting("enabled"), setting("shmem_enabled"));
}

Finding check_memfd_noexec() {
  return judge_memfd_noexec(parse_number(read_text("/proc/sys/vm/memfd_noexec").value_or("")));
}

constexpr Check kChecks[] = {
    {"Memory", "memory", check_memory},
    {"Memory", "shared memory", check_shared_memory},
    {"Memory", "overcommit", check_overcommit},
    {"Memory", "huge pages", check_huge_pages},
    {"Memory", "code in memory", check_memfd_noexec},
};

}  // namespace

std::span<const Check> memory_checks() {
  return kChecks;
}

Finding judge_memory(std::uint64_t available, std::optional<std::uint64_t> cgroup_limit,
                     std::uint64_t cgroup_used) {
  Finding finding{Verdict::kOk, format_bytes(available) + " available"};
  if (cgroup_limit) {
    const std::uint64_t left = *cgroup_limit - std::min(*cgroup_limit, cgroup_used);
    finding.found += fmt::format("; the control group allows {}, of which {} are left",
                                 format_bytes(*cgroup_limit), format_bytes(left));
    available = std::min(available, left);
  }
  if (available < kMemoryLow) {
    finding.verdict = Verdict::kWarn;
    finding.advice = "tensors are shared memory, which counts as used: little room for them here";
  }
  return finding;
}

Finding judge_overcommit(std::optional<std::int64_t> mode) {
  if (!mode) return {Verdict::kOk, "the kernel does not say"};
  if (*mode != 2) return {Verdict::kOk, fmt::format("vm.overcommit_memory is {}", *mode)};
  return {
      Verdict::kWarn, "vm.overcommit_memory is 2: memory is promised once only",
      "a large process may not be allowed to fork; give large memory to echelon::keep_private()"};
}

Finding judge_memfd_noexec(std::optional<std::int64_t> mode) {
  if (!mode) return {Verdict::kOk, "allowed (this kernel has no vm.memfd_noexec)"};
  if (*mode < 2) return {Verdict::kOk, fmt::format("allowed (vm.memfd_noexec is {})", *mode)};
  return {Verdict::kWarn, "vm.memfd_noexec is 2: code may not be loaded from memory",
          "chip images are loaded from memory: sysctl vm.memfd_noexec=1, or use no cpu chips"};
}

Finding judge_huge_pages(const std::string& ordinary, const std::string& shared) {
  if (ordinary.empty() && shared.empty())
    return {Verdict::kOk, "this kernel has no transparent huge pages"};
  Finding finding{Verdict::kOk, fmt::format("ordinary memory: {}; shared memory: {}",
                                            ordinary.empty() ? "unknown" : ordinary,
                                            shared.empty() ? "unknown" : shared)};
  if (shared == "never" || shared == "deny")
    finding.advice =
        "large tensors come up faster with shmem_enabled=advise; nothing depends on it";
  return finding;
}

}  // namespace echelon::cli
