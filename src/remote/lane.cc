// SPDX-License-Identifier: Apache-2.0
#include "remote/lane.h"

#include <utility>

#include "remote/lane_words.h"

namespace echelon {

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

}  // namespace echelon
