// SPDX-License-Identifier: Apache-2.0
//
// TreeEdge: one end of the socketpair between a Worker and a child, over which descriptors go:
// pools ahead of the first frame that needs them, bodies too large for a ring. Both ends are alike.
// No request is ever made over it, so there is no cycle of waits (docs/design/0003-channel.md).
//
// Processes: parent and child, one object each.
// Threads: sending is one thread's at a time (parent: the driver; child: the executor), receiving
// any
//   thread's. Blocking: only where `wait` says so.
// Fork: no.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>

#include "base/fd.h"
#include "base/ids.h"
#include "base/mapping.h"
#include "base/status.h"
#include "shm/pool.h"
#include "shm/pool_directory.h"
#include "shm/pool_push.h"
#include "shm/spill.h"

namespace echelon {

/// What this process knows of pools; see WorkerPools. Threads: safe.
class PoolSource {
 public:
  /// Rises whenever a pool, or a segment of one, has become known here. Cheap.
  virtual std::uint64_t epoch() const = 0;
  /// For handing on; nullopt: no host pool that is known here (a chip's memory, say).
  virtual std::optional<PoolDescriptors> descriptors(Uid issuer) = 0;
  /// Takes in what a peer pushed. Errors: kBadFrame, kExhausted, kSystem.
  virtual Status adopt(ReceivedPush push, SpillInbox& spills) = 0;

 protected:
  ~PoolSource() = default;
};

class TreeEdge {
 public:
  /// `pools` must outlive it.
  TreeEdge(UniqueFd socket, Uid self, PoolSource& pools);

  // --- sending ---------------------------------------------------------------------------------
  /// Pushes what the peer lacks of the pools behind a task's tensors. Costs a few ns while nothing
  /// is new. A malformed body pushes nothing: its reader will say what is wrong. Returns true if
  /// something was pushed since the last take_push_flag(). Errors: kExhausted (the socket is full:
  /// the peer has to read; call again), kSystem.
  Status ensure_pushed(std::span<const std::byte> task_body);
  /// True if the next frame has to carry kFlagPush. Clear it once such a frame was published.
  bool push_flag() const { return push_flag_; }
  void set_push_flag(bool on) { push_flag_ = on; }
  /// Sends a body beside the ring. Errors: kTooLarge, kExhausted (as above), kSystem.
  Result<SpillData> send_spill(std::span<const std::byte> body, std::span<const std::byte> more,
                               bool wait);

  // --- receiving -------------------------------------------------------------------------------
  /// Takes in all that has come. False: nothing had. Something malformed ends receiving for good.
  bool fetch_more();
  /// The body that a frame with kFlagSpill names. Errors: kBadFrame.
  Result<Mapping> take_spill(std::span<const std::byte> frame_body);
  /// The file that was pushed as payload `id`; none: it has not come. Each can be taken once.
  UniqueFd take_payload(std::uint64_t id);
  /// What ended receiving, if anything did.
  Status receive_error() const;

  int fd() const { return socket_.get(); }

 private:
  static constexpr std::size_t kCurrentMax = 8;
  /// Payloads that have arrived and whose frames have not been read, at most.
  static constexpr std::size_t kPayloadsMax = 256;

  Status push_issuer(Uid issuer);
  bool is_current(Uid issuer) const;
  bool fetch_more_locked();
  Status adopt_locked(ReceivedPush push);

  UniqueFd socket_;
  const Uid self_;
  PoolSource& pools_;

  // Sending side.
  PushedPools pushed_;
  std::uint64_t spill_id_ = 0;
  std::uint64_t epoch_ = ~std::uint64_t{0};
  std::array<Uid, kCurrentMax> current_{};  // issuers of which the peer has all as of epoch_
  std::size_t current_count_ = 0;
  bool push_flag_ = false;

  mutable std::mutex mutex_;  // guards the receiving side
  SpillInbox spills_;
  std::map<std::uint64_t, UniqueFd> payloads_;
  Status receive_error_;
};

}  // namespace echelon
