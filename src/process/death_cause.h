// SPDX-License-Identifier: Apache-2.0
//
// DeathCause: why a process ended, in words and as fields of an error. Known twice: at once from
// field 52 of /proc/PID/stat, valid from before the liveness word changes, and later from the wait
// status.
//
// Threads: any. Blocking: reads /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace echelon {

struct DeathCause {
  int signal = 0;     // 0: it exited
  int exit_code = 0;  // with signal == 0
  bool core = false;
  bool out_of_memory = false;  // a SIGKILL while the kernel counted an OOM kill in our cgroup

  static DeathCause from_wait_status(int wait_status);

  /// "killed by signal 9 (SIGKILL)", "exited with code 3".
  std::string describe() const;
  /// Sets cause, signal and exit_code.
  void fill(ErrorInfo& info) const;
};

/// Of a process that is ending or a zombie. nullopt: it is alive, reaped, or may not be looked at.
std::optional<DeathCause> read_death_cause(pid_t pid);
/// The parsing alone: the text of /proc/PID/stat.
std::optional<DeathCause> parse_death_cause(std::string_view stat);

/// OOM kills counted so far in this process's memory cgroup; nullopt where nothing counts them.
std::optional<std::uint64_t> oom_kill_count();

/// "SIGSEGV"; "signal 77" for one without a name.
std::string signal_name(int signal);

}  // namespace echelon
