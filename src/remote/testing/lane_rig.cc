// SPDX-License-Identifier: Apache-2.0
#include "remote/testing/lane_rig.h"

namespace echelon {

bool LaneEnd::await_lane() {
  std::unique_lock lock(mutex_);
  return bell_.wait_for(lock, kLaneTestPatience, [this] { return lane_ != nullptr; });
}

LaneSend LaneEnd::send(std::string_view text) {
  // In two segments, so that every message of every test is joined.
  const auto bytes = std::as_bytes(std::span(text));
  const std::array segments = {bytes.first(bytes.size() / 2), bytes.subspan(bytes.size() / 2)};
  return lane_->try_send(segments);
}

void LaneEnd::send_all(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    LaneSend sent = send(text);
    for (; sent == LaneSend::kNoRoom; sent = send(text)) {
      if (!sleep()) return;
    }
    if (sent == LaneSend::kDown) return;
  }
}

bool LaneEnd::poll_until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kLaneTestPatience;
  for (;;) {
    const std::size_t before = rings();
    poll();
    if (condition()) return true;
    if (lane_->has_news()) continue;
    std::unique_lock lock(mutex_);
    if (!bell_.wait_until(lock, deadline, [&] { return rung_ != before; })) return false;
  }
}

bool LaneEnd::sleep() {
  std::unique_lock lock(mutex_);
  const bool rung = bell_.wait_for(lock, kLaneTestPatience, [this] { return rung_ != heard_; });
  heard_ = rung_;
  return rung;
}

std::size_t LaneEnd::rings() {
  const std::lock_guard lock(mutex_);
  return rung_;
}

void LaneEnd::ring() {
  const std::lock_guard lock(mutex_);
  ++rung_;
  bell_.notify_all();
}

}  // namespace echelon
