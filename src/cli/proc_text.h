// SPDX-License-Identifier: Apache-2.0
//
// Texts of /proc, /sys and cgroup files, read and understood. The parsers are pure; only
// read_text() touches a file. What is missing or unreadable is nullopt, never an error: these files
// differ between kernels and containers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace echelon::cli {

/// A small file, without trailing white space.
std::optional<std::string> read_text(const std::string& path);

/// A whole decimal number; "max" and anything else are nullopt.
std::optional<std::int64_t> parse_number(std::string_view text);

/// "MemAvailable:  123 kB" of /proc/meminfo, in bytes.
std::optional<std::uint64_t> meminfo_bytes(std::string_view text, std::string_view key);

/// The value after "key :" of /proc/cpuinfo, the first of its kind.
std::optional<std::string> cpuinfo_value(std::string_view text, std::string_view key);

/// "[madvise]" of "always [madvise] never".
std::optional<std::string> bracketed(std::string_view text);

/// Processors' worth of time a cgroup may use: cgroup v2's cpu.max ("200000 100000" is 2).
std::optional<double> cpu_max_processors(std::string_view text);

/// The folder of a controller's cgroup below its mount: from /proc/self/cgroup, version 2 ("0::/x")
/// for an empty controller, else version 1 ("4:memory:/x").
std::optional<std::string> cgroup_folder(std::string_view text, std::string_view controller);

/// Fields of /proc/PID/stat behind the command, which may hold spaces and brackets.
struct ProcessStat {
  std::int64_t pid = 0;
  std::string command;
  char state = '?';
  std::int64_t parent = 0;
};
std::optional<ProcessStat> parse_stat(std::string_view text);

/// The number in "5.16.3-amd64" as 5016; 0 for what is no version.
int kernel_version(std::string_view release);

/// The first file of this name found: in this process's cgroup, version 2 or 1, or at the mounts'
/// root as containers see it. `controller` is version 1's name of it.
std::optional<std::string> read_cgroup_file(std::string_view controller, std::string_view v2_name,
                                            std::string_view v1_name);

}  // namespace echelon::cli
