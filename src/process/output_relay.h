// SPDX-License-Identifier: Apache-2.0
//
// OutputRelay: what children print, on its way to this process's own stdout and stderr. A reader
// that does not read holds up the text, never the thread: what does not go out now waits here, and
// once full() the caller takes in no more, so that in the end the children that print are held up.
//
// Threads: one at a time. Blocking: drain_until() only.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/env.h"
#include "process/spawner.h"

namespace echelon {

/// Text waiting here, at most, before full().
inline constexpr std::size_t kOutputWaitingMax = std::size_t{1} << 20;

class OutputRelay {
 public:
  /// Where the two streams go; the process's own by default.
  explicit OutputRelay(int stdout_fd = 1, int stderr_fd = 2) : fds_{stdout_fd, stderr_fd} {}

  /// Whole lines; kept whole among those of others.
  void add(OutputStream stream, std::string_view text);
  /// Writes what can be written without waiting. True: nothing is left.
  bool flush();
  bool full() const { return waiting_[0].size() + waiting_[1].size() > kOutputWaitingMax; }
  /// Waits for the readers until the deadline (absolute); what is left then is dropped.
  void drain_until(MonotonicNs deadline_ns, Env& env);

 private:
  bool flush_one(std::size_t i);

  std::array<int, 2> fds_;
  std::array<std::string, 2> waiting_;
};

}  // namespace echelon
