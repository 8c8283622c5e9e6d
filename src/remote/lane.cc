// SPDX-License-Identifier: Apache-2.0
#include "remote/lane.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "remote/lane_words.h"

namespace echelon {

void LaneEvents::on_parts(LaneSegments parts) {
  std::vector<std::byte> whole;
  std::size_t bytes = 0;
  for (const auto part : parts) bytes += part.size();
  whole.reserve(bytes);
  for (const auto part : parts) whole.insert(whole.end(), part.begin(), part.end());
  on_message(whole);
}

std::string_view to_string(LaneRole role) {
  switch (role) {
    case LaneRole::kTask:
      return "task";
    case LaneRole::kData:
      return "data";
    case LaneRole::kHealth:
      return "health";
    case LaneRole::kPeer:
      return "peer";
  }
  return "unknown";
}

Status lane_closed_here(const Status& why) {
  if (!why.ok()) return why;
  return Status::error(Code::kCancelled, Reason::kCancelled, "the lane was closed at this end");
}

Status lane_closed_by_peer(const Status& why) {
  if (why.ok()) {
    return Status::error(Code::kCancelled, Reason::kCancelled, "the other end closed the lane");
  }
  ErrorInfo info = why.info();
  info.message = "the other end closed the lane: " + info.message;
  return Status(std::move(info));
}

Status lane_peer_gone() {
  return Status::error(Code::kUnavailable, Reason::kSystem,
                       "the other end of the lane is gone without a word");
}

Status lane_down(LaneRole role, const Status& why) {
  ErrorInfo info = why.info();
  if (info.code != Code::kUnavailable) return why;
  info.message = fmt::format("its {} lane is down: {}", to_string(role), info.message);
  return Status(std::move(info));
}

}  // namespace echelon
