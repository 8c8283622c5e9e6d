// SPDX-License-Identifier: Apache-2.0
//
// DataServer: a session's end of the data lane - allocations, frees, writes, reads, payloads ahead
// of their registrations (wire.h). Answers wait for room in the lane, and while many wait nothing
// more is read, so that a parent that does not read fills no memory here. Reads take turns, a piece
// each.
//
// Threads: pump() and waiting() one at a time; take_payload() any. Blocking: never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <vector>

#include "base/status.h"
#include "process/payload.h"
#include "remote/lane.h"
#include "remote/session_memory.h"
#include "remote/wire.h"

namespace echelon {

class PeerLinks;

class DataServer final : private LaneEvents {
 public:
  /// Whose lane it is: a peer may write, and nothing else.
  enum class Of : std::uint8_t { kParent, kPeer };
  /// All must outlive it. Without `peers` orders about them are refused.
  DataServer(SessionMemory& memory, Lane& lane, Of of = Of::kParent, PeerLinks* peers = nullptr)
      : memory_(memory), lane_(lane), of_(of), peers_(peers) {}

  /// One round: takes in what has come, answers as far as there is room. True if there may be more
  /// to do at once.
  bool pump();
  /// Whether pump() would find something that came.
  bool has_news() const { return (reading() && lane_.has_news()) || has_peer_answers(); }
  /// The lane is down, or its parent sent what is no message: nothing more is done.
  const Status& failed() const { return failed_; }

  /// A payload that has come whole; each can be taken once. Errors: kBadFrame.
  Result<std::shared_ptr<const Payload>> take_payload(std::uint64_t id, std::uint64_t bytes);

 private:
  struct Answer {
    DataMessage message;
    std::vector<std::byte> error;
  };
  struct Read {
    std::uint64_t request = 0;
    TensorDesc tensor;
    std::uint64_t at = 0;
    std::uint64_t end = 0;
  };
  struct Incoming {
    std::vector<std::byte> bytes;
    std::uint64_t total = 0;
  };

  void on_message(std::span<const std::byte> message) override;
  void on_parts(LaneSegments parts) override;
  void on_down(const Status& why) override;

  Status take(const DataMessage& message);
  void allocate(const DataMessage& message);
  Status write(const DataMessage& message, LaneSegments more = {});
  Status start_read(const DataMessage& message);
  void stop_read(const DataMessage& message);
  Status add_payload(const DataMessage& message);
  Status refuse_rest(const DataMessage& message, DataKind answer, const Status& why);
  bool in_refused(const DataMessage& message);
  Status hold(std::uint64_t id, std::vector<std::byte> bytes);
  void answer(DataKind kind, std::uint64_t request, const Status& status);
  bool reading() const;
  bool has_peer_answers() const;
  void take_peer_answers();
  bool send_answers();
  bool send_pieces();
  bool send_piece(Read& read, bool& done);

  SessionMemory& memory_;
  Lane& lane_;
  const Of of_;
  PeerLinks* const peers_;
  Status failed_;
  std::deque<Answer> answers_;
  std::deque<Read> reads_;        // the next to send a piece first
  std::vector<std::byte> piece_;  // of a tensor with gaps
  std::map<std::uint64_t, Incoming> incoming_;
  std::set<std::uint64_t> refused_;  // their remaining pieces are not looked at

  std::mutex mutex_;  // guards what follows
  std::map<std::uint64_t, std::shared_ptr<const Payload>> payloads_;
  std::uint64_t payload_bytes_ = 0;
};

}  // namespace echelon
