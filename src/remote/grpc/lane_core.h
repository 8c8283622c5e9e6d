// SPDX-License-Identifier: Apache-2.0
//
// LaneCore: a lane over a LaneStream. It outlives its Lane by what is under way: each operation of
// gRPC's holds a reference until it completes.
//
//   up ──close()──> closing     what was sent is written, then the words, then the call ends;
//    │                          what still comes is read and dropped; at most kLinger
//    ├──peer's words──> over
//    ├──read or write fails──> over
//    └──Lane destroyed──> over  cancelled: nothing more is written
//
// Invariants: CORE-1 at most one read and one write are under way. CORE-2 a read is started only
// where a whole batch fits into what the inbox may hold. CORE-3 advance() alone starts operations.
//
// Threads: any.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "remote/grpc/lane_codec.h"
#include "remote/grpc/lane_stream.h"
#include "remote/grpc/reactor.h"
#include "remote/lane.h"

namespace echelon {

class LaneCore : public std::enable_shared_from_this<LaneCore> {
 public:
  /// `broken` makes a Status of how the call ended, for an end that hears it.
  LaneCore(std::shared_ptr<Reactor> reactor, std::unique_ptr<LaneStream> stream,
           LaneOptions options, std::function<Status(const grpc::Status&)> broken);
  ~LaneCore();

  /// Starts reading.
  void start();
  LaneSend try_send(LaneSegments segments);
  std::size_t poll(LaneEvents& events);
  bool has_news();
  void close(const Status& why);
  bool is_closing();
  /// Its Lane is destroyed: notify() is not called any more.
  void abandon();

 private:
  /// An operation under way; holds the core.
  class Operation final : public Completion {
   public:
    using Done = void (LaneCore::*)(bool ok);
    Operation(LaneCore& core, Done done) : core_(core), done_(done) {}
    void* begin() {
      self_ = core_.shared_from_this();
      return static_cast<Completion*>(this);
    }
    void complete(bool ok) override {
      const std::shared_ptr<LaneCore> keep = std::move(self_);
      (core_.*done_)(ok);
    }

   private:
    LaneCore& core_;
    Done done_;
    std::shared_ptr<LaneCore> self_;
  };

  struct Arrived {
    grpc::Slice owner;
    std::span<const std::byte> bytes;
    std::vector<grpc::Slice> parts;  // of a large message, instead of the two above
    std::size_t skipped = 0;         // of the first part: it is no message's
    std::size_t cost = 0;            // of what inbox_bytes_ counts
  };

  void on_read(bool ok);
  void on_written(bool ok);
  void on_writes_done(bool ok);
  void on_finished(bool ok);
  void on_linger(bool ok);

  static void deliver(const Arrived& message, LaneEvents& events);
  bool take_parts_locked(grpc::ByteBuffer& buffer);
  void take_batch_locked(grpc::ByteBuffer& buffer);
  void take_words_locked(std::span<const std::byte> words);
  void go_down_locked(Status why);
  void close_locked(const Status& here, const Status& there);
  void note_news_locked();
  bool room_to_tell_locked();
  /// Starts what can be started. Unlocks around the operations.
  void advance(std::unique_lock<std::mutex>& lock);
  void advance_writing(std::unique_lock<std::mutex>& lock);
  void advance_reading(std::unique_lock<std::mutex>& lock);
  void advance_ending(std::unique_lock<std::mutex>& lock);
  grpc::ByteBuffer next_batch_locked();
  void call_notify();

  const std::shared_ptr<Reactor> reactor_;
  const std::unique_ptr<LaneStream> stream_;
  const std::function<Status(const grpc::Status&)> broken_;

  std::uint64_t polls_seen_ = 0;  // poll()'s

  std::mutex notify_mutex_;  // never taken under mutex_
  std::function<void()> notify_;

  std::atomic<bool> news_{false};

  std::mutex mutex_;  // guards all below, but for what an operation under way reads into
  std::deque<grpc::Slice> outbox_;
  std::size_t outbox_bytes_ = 0;  // with what is being written
  std::size_t writing_bytes_ = 0;
  std::size_t wanted_ = 0;  // room that the sender was refused; 0: it waits for none
  std::deque<Arrived> inbox_;
  std::size_t inbox_bytes_ = 0;
  bool down_ = false;
  bool down_reported_ = false;
  Status why_;
  std::optional<std::string> words_;  // to be written last
  bool words_written_ = false;
  bool lingers_ = false;

  bool started_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool read_ended_ = false;   // the peer will send no more
  bool write_ended_ = false;  // nothing can be written any more
  bool finishing_ = false;
  bool finished_ = false;

  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  grpc::Alarm linger_;
  Operation read_{*this, &LaneCore::on_read};
  Operation write_{*this, &LaneCore::on_written};
  Operation writes_done_{*this, &LaneCore::on_writes_done};
  Operation finish_{*this, &LaneCore::on_finished};
  Operation lingering_{*this, &LaneCore::on_linger};
};

/// The Lane of it.
std::unique_ptr<Lane> make_grpc_lane(std::shared_ptr<LaneCore> core);

}  // namespace echelon
