// SPDX-License-Identifier: Apache-2.0
//
// Lane: one ordered, reliable connection for messages between a Worker and a session of it on
// another host. Implementations are shared objects (transport.h), all passing one conformance
// suite (docs/design/0013-remote.md).
//
//   Open -> Down       by close(), by the peer, by a broken connection; never up again
//
// LANE-1  Messages arrive whole, once, in the order in which they were sent, or the lane goes down.
// LANE-2  What is buffered in a lane is bounded on both sides: a reader that does not poll ends in
//         kNoRoom at the sender, never in memory that grows.
//
// Threads: try_send() one thread at a time, poll() one thread at a time; the two may be different
//   threads; has_news() and close() any. Blocking: never.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace echelon {

/// What a lane is for. Each is a connection of its own: bulk data delays no task, nothing delays
/// health.
/// kPeer: bytes of tensors from one session to another.
enum class LaneRole : std::uint8_t { kTask = 1, kData = 2, kHealth = 3, kPeer = 4 };
std::string_view to_string(LaneRole role);

/// The order in which a session's lanes connect: a listener may have made itself ready for it.
inline constexpr std::array kLaneConnectOrder = {LaneRole::kHealth, LaneRole::kTask,
                                                 LaneRole::kData};

/// A message is one or more segments, joined on arrival.
using LaneSegments = std::span<const std::span<const std::byte>>;

/// The largest message, all segments together.
inline constexpr std::size_t kLaneMessageBytesMax = std::size_t{4} << 20;
/// What a lane may hold of messages that were sent and not taken by the transport, or that arrived
/// and were not polled: each direction, each end.
inline constexpr std::size_t kLaneBufferBytes = std::size_t{8} << 20;

enum class LaneSend : std::uint8_t {
  kSent,    // the bytes were copied
  kNoRoom,  // nothing was sent; notify() is called when there is room again
  kDown,    // nothing was sent and never will be
};

class LaneEvents {
 public:
  /// The view is valid during the call.
  virtual void on_message(std::span<const std::byte> message) = 0;
  /// A large message in the parts in which it came, none of them empty; the views are valid during
  /// the call. Joins them for on_message(); who can do without that copy overrides it.
  virtual void on_parts(LaneSegments parts);
  /// Once, after the last message. `why` says who closed it and with what words, or what broke.
  virtual void on_down(const Status& why) = 0;

 protected:
  ~LaneEvents() = default;
};

struct LaneOptions {
  /// Something can be polled, or there is room again, or the lane is down. Called on a thread of
  /// the transport's, or of whoever sends or polls in this process; must be quick, never block, and
  /// call no lane. Not called after the Lane was destroyed.
  std::function<void()> notify;
};

class Lane {
 public:
  /// Closes without a word.
  virtual ~Lane() = default;

  /// REQUIRES: at most kLaneMessageBytesMax bytes in all; a message of no bytes is one, too.
  virtual LaneSend try_send(LaneSegments segments) = 0;
  /// Reports what has come. Returns the number of events.
  virtual std::size_t poll(LaneEvents& events) = 0;
  /// Whether poll() would report something: cheap. Who is about to sleep asks this last: from then
  /// on, until the next poll(), the transport looks by itself and calls notify() at once. (Who
  /// never asks is notified, too, but may be a millisecond late.)
  virtual bool has_news() const = 0;
  /// What was sent before still arrives where the connection holds; then the peer hears `why`.
  virtual void close(const Status& why) = 0;
  /// After close(): words, or what was sent before them, are still on their way out. A process that
  /// ends meanwhile cuts them off.
  virtual bool is_closing() const { return false; }
  /// "grpc", "sim".
  virtual std::string_view implementation() const = 0;
};

}  // namespace echelon
