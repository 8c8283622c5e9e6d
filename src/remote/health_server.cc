// SPDX-License-Identifier: Apache-2.0
#include "remote/health_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error_codec.h"
#include "remote/manifest.h"
#include "remote/manifest_check.h"

namespace echelon {

HealthServer::HealthServer(ControlHooks hooks, std::chrono::nanoseconds lease, Lane& lane, Env& env)
    : protocol_(std::move(hooks)),
      lane_(lane),
      env_(env),
      lease_ns_(static_cast<std::uint64_t>(lease.count())),
      heard_ns_(env.now_ns()) {}

bool HealthServer::pump() {
  return failed_.ok() && lane_.poll(*this) != 0;
}

void HealthServer::fail(const Status& why) {
  if (failed_.ok()) failed_ = why;
}

MonotonicNs HealthServer::check_lease() {
  if (lease_ns_ == 0 || !failed_.ok()) return 0;
  const MonotonicNs heard = heard_ns_.load(std::memory_order_relaxed);
  const MonotonicNs now = env_.now_ns();
  if (now < heard || now - heard < lease_ns_) return deadline_of(lease_ns_, heard);
  fail(Status::error(
      Code::kUnavailable, Reason::kUnresponsive,
      fmt::format("its parent was not heard for {:.1f} s, and its lease is {:.1f} s",
                  static_cast<double>(now - heard) / 1e9, static_cast<double>(lease_ns_) / 1e9)));
  return 0;
}

std::chrono::nanoseconds HealthServer::silent_for() const {
  const MonotonicNs heard = heard_ns_.load(std::memory_order_relaxed);
  const MonotonicNs now = env_.now_ns();
  return std::chrono::nanoseconds(now > heard ? now - heard : 0);
}

void HealthServer::on_message(std::span<const std::byte> message) {
  heard_ns_.store(env_.now_ns(), std::memory_order_relaxed);
  LaneFrameReader reader(message);
  LaneFrame frame;
  while (failed_.ok() && reader.next(frame)) {
    if (const Status taken = take(frame); !taken.ok()) fail(taken);
  }
  if (!reader.status().ok()) fail(reader.status());
}

Status HealthServer::take(const LaneFrame& frame) {
  if (frame.kind == FrameKind::kHello) return greet(frame.body);
  if (!greeted_) return bad_message("a parent that does not greet first");
  if (frame.flags != 0) return bad_message("flags on the health lane");
  if (frame.kind == FrameKind::kGoodbye) {
    Status bad;
    return error_in(frame.body, bad);
  }
  if (frame.kind == FrameKind::kPing) ECHELON_RETURN_IF_ERROR(renew(frame.remaining_ns));
  FrameHeader header;
  header.bytes = static_cast<std::uint32_t>(frame.body.size());
  header.kind = frame.kind;
  header.task = frame.task;
  header.slot = frame.slot;
  header.deadline = deadline_of(frame.remaining_ns, env_.now_ns());
  return protocol_.handle(header, frame.body, *this);
}

// For ever is a session that no death of its parent's host ends.
Status HealthServer::renew(std::uint64_t lease_ns) {
  if (lease_ns == 0) return {};  // as before
  const auto bound = [](std::chrono::nanoseconds time) {
    return static_cast<std::uint64_t>(time.count());
  };
  if (lease_ns < bound(kSessionPatienceMin) || lease_ns > bound(kSessionPatienceMax)) {
    return bad_message(fmt::format("a lease of {:g} s; {:g} s to {:g} s are allowed",
                                   static_cast<double>(lease_ns) / 1e9,
                                   std::chrono::duration<double>(kSessionPatienceMin).count(),
                                   std::chrono::duration<double>(kSessionPatienceMax).count()));
  }
  lease_ns_ = lease_ns;
  return {};
}

Status HealthServer::greet(std::span<const std::byte> body) {
  if (greeted_) return bad_message("a second greeting");
  const Hello own{kRemoteProtocolMajor, kRemoteProtocolMinor};
  const auto hello = decode_hello(body, own);
  // Also to one of another version, which says the same in its own words.
  reply(FrameKind::kHello, 0, encode_hello(own));
  greeted_ = hello.ok();
  return hello.status();
}

// A parent that reads no answers gets none: whoever asked has a deadline of its own.
void HealthServer::reply(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) {
  static_cast<void>(answer(kind, token, body));
}

bool HealthServer::answer(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) {
  LaneFrame frame;
  frame.kind = kind;
  frame.task = token;
  frame.body = body.first(std::min(body.size(), kPieceBytes));
  const std::lock_guard lock(send_mutex_);
  // To a parent that is gone nothing need be said.
  return send_frame(lane_, frame) != LaneSend::kNoRoom;
}

void HealthServer::goodbye(const Status& why) {
  const auto words = encode_error(why.info(), kPieceBytes);
  reply(FrameKind::kGoodbye, 0, words);
  lane_.close(why);
}

}  // namespace echelon
