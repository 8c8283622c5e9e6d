// SPDX-License-Identifier: Apache-2.0
//
// DataClient: the parent's end of a session's data lane (wire.h). Copies between a tensor here and
// one there, allocations, frees, payloads ahead of their registrations. Transfers take turns, a
// piece each; what finds no room in the lane waits here, as requests, never as bytes.
//
// Threads: safe. Blocking: never, but for the copying of a round's pieces.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <echelon/dtype.h>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"
#include "process/payload.h"
#include "remote/lane.h"
#include "remote/remote_endpoint.h"
#include "remote/wire.h"

namespace echelon {

/// A tensor here and one there, of the same size and type.
struct RemoteCopy {
  TaskId task;
  TensorDesc remote;
  TensorDesc local;
  std::byte* at = nullptr;      // the local one's first element
  MonotonicNs deadline_ns = 0;  // 0: none
  bool to_session = false;
};

class DataClient final : private LaneEvents {
 public:
  /// Once. The lane lives as long as this.
  void attach(std::unique_ptr<Lane> lane);

  // --- transfers --------------------------------------------------------------------------------
  void start_copy(const RemoteCopy& copy);
  /// True: no byte of it was moved, and none will be.
  bool try_recall(TaskId task);
  /// Ends a copy with `why` and how far it had got. What is on its way to the session's tensor may
  /// still be written there: is_fenced() until it has been. Nothing is written here any more.
  void stop(TaskId task, const Status& why);
  /// Ends those whose deadline has passed. True if there were any.
  bool stop_late(MonotonicNs now);
  /// Whether any buffer is fenced. Cheap.
  bool has_fences() const { return fences_any_.load(std::memory_order_relaxed); }
  /// What was sent of a copy that was stopped may still be written to it.
  bool is_fenced(BufferId buffer) const;
  /// Copies that have ended since the last call; their order is that in which they ended.
  void take_ended(std::vector<std::pair<TaskId, Status>>& into);

  // --- the rest ---------------------------------------------------------------------------------
  DispatchResult allocate(std::uint64_t token, std::span<const std::int64_t> shape, DType dtype,
                          bool zeroed);
  std::vector<RemoteEndpoint::Allocation> take_allocations();
  /// Whether any was answered since the last call.
  bool note_allocations();
  DispatchResult release(BufferId buffer);
  /// kSent: the session holds it; kNoRoom: it is on its way, ask again. Errors: it is refused
  /// there.
  Result<DispatchResult> send_payload(std::uint64_t id,
                                      const std::shared_ptr<const Payload>& payload);
  /// Its frame was sent, or will not be.
  void forget_payload(std::uint64_t id);

  // --- links between sessions (peer_copies.h)
  /// How an order ended.
  using Ordered = std::function<void(const Status&)>;
  /// Sends an order; `bytes` stand behind it. `done` is called once: by end_orders(), or
  /// at once where the lane is down; not at all where this is destroyed before.
  void order(DataMessage message, std::vector<std::byte> bytes, Ordered done);
  /// Calls those whose orders have ended since the last call. True if there were any.
  bool end_orders();

  /// One round: takes in what has come, sends as far as there is room. True if anything moved.
  bool pump();
  /// Whether take_ended() or note_allocations() would find something, or it has failed. Cheap.
  bool has_noted() const;
  /// Whether pump() would find something: asked before its thread sleeps.
  bool has_come() const;
  /// Whether pump() is to be called although nothing has come: something waits to be sent.
  bool busy() const { return waiting_.load(std::memory_order_relaxed); }
  /// The lane is down, or what came over it is no message of a session's. OK: neither.
  Status failed() const;
  /// Ends it: no byte is moved any more once this has returned; what was asked for fails with
  /// `why`.
  void close(const Status& why);
  /// It notifies nobody any more.
  void destroy_lane();

  std::uint64_t bytes_out() const { return bytes_out_.load(std::memory_order_relaxed); }
  std::uint64_t bytes_in() const { return bytes_in_.load(std::memory_order_relaxed); }

 private:
  struct Transfer {
    RemoteCopy copy;
    std::uint64_t request = 0;
    std::uint64_t total = 0;
    std::uint64_t moved = 0;  // to the session: sent; from it: come
    bool begun = false;
    bool sent_all = false;  // the last piece, or the read's request
  };
  struct Small {
    DataMessage message;
    std::vector<std::byte> bytes;  // what the message's view is of
  };
  struct Asked {
    std::uint64_t token = 0;
    DType dtype = DType::kNone;
    std::vector<std::int64_t> shape;
  };
  struct Upload {
    std::shared_ptr<const Payload> payload;
    std::uint64_t sent = 0;
    bool sent_all = false;
    bool held = false;
    bool forgotten = false;  // it goes once all of it was sent: the session counts its bytes
    Status error;
  };

  void on_message(std::span<const std::byte> message) override;
  void on_parts(LaneSegments parts) override;
  void on_down(const Status& why) override;

  bool pump_locked();
  bool send_small_locked();
  bool send_transfers_locked();
  bool send_uploads_locked();
  LaneSend send_step_locked(Transfer& transfer);
  LaneSend send_write_locked(Transfer& transfer);
  /// `more`: what follows the bytes of a piece, where the message came in parts.
  Status take_locked(const DataMessage& message, LaneSegments more = {});
  Status take_allocated_locked(const DataMessage& message);
  Status take_written_locked(const DataMessage& message);
  Status take_read_locked(const DataMessage& message, LaneSegments more);
  Status take_held_locked(const DataMessage& message);
  Status take_of_peers_locked(const DataMessage& message);
  Result<Transfer*> transfer_locked(const DataMessage& message, bool to_session);
  void abandon_locked(const Transfer& transfer);
  void stop_locked(Transfer& transfer, const Status& why);
  Result<bool> take_stopped_locked(const DataMessage& message);
  void end_locked(Transfer* transfer, Status status);
  void fail_locked(const Status& why);
  void note_waiting_locked();

  std::atomic<Lane*> lane_{nullptr};
  std::atomic<bool> waiting_{false};
  std::atomic<bool> ended_any_{false};
  std::atomic<bool> allocated_any_{false};
  std::atomic<bool> broken_{false};  // failed_ is set
  std::atomic<bool> fences_any_{false};
  std::atomic<std::uint64_t> bytes_out_{0};
  std::atomic<std::uint64_t> bytes_in_{0};

  mutable std::mutex mutex_;  // guards what follows, and both ways of the lane
  std::unique_ptr<Lane> owned_;
  Status failed_;
  std::uint64_t next_request_ = 1;
  std::deque<Small> small_;                                       // requests that wait for room
  std::map<std::uint64_t, std::pair<DataKind, Ordered>> orders_;  // by request: the answer's kind
  std::vector<std::pair<Ordered, Status>> orders_ended_;
  std::vector<Transfer> transfers_;  // in the order of their start
  std::size_t turn_ = 0;             // whose piece is next
  /// Stopped while under way, and not answered yet: by request.
  struct Stopped {
    BufferId buffer;
    bool to_session = false;
  };
  std::map<std::uint64_t, Stopped> stopped_;
  std::vector<std::pair<TaskId, Status>> ended_;
  std::map<std::uint64_t, Asked> allocating_;  // by request
  std::vector<RemoteEndpoint::Allocation> allocations_;
  std::set<std::uint64_t> freeing_;
  std::map<std::uint64_t, Upload> uploads_;
  std::vector<std::byte> piece_;  // of a tensor with gaps
};

}  // namespace echelon
