// SPDX-License-Identifier: Apache-2.0
#include "process/tree_child.h"

#include <fmt/format.h>

namespace echelon {

Status not_ready_error(std::span<TreeChild* const> children, std::chrono::nanoseconds waited) {
  ErrorInfo info;
  info.code = Code::kDeadlineExceeded;
  info.reason = Reason::kStartFailed;
  info.cause = Cause::kDeadline;
  const double seconds = static_cast<double>(waited.count()) / 1e9;
  for (const TreeChild* child : children) {
    const StartProgress progress = child->start_progress();
    if (progress.state == StartState::kReady) continue;
    if (!info.message.empty()) info.message += "; ";
    info.message += fmt::format("child {} not ready after {:.3g} s: phase {}", child->path(),
                                seconds, progress.phase.empty() ? "booting" : progress.phase);
    if (info.path.empty()) {
      info.path = child->path();
      info.pid = child->pid();
    }
  }
  return Status(std::move(info));
}

}  // namespace echelon
