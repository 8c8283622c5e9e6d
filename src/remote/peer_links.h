// SPDX-License-Identifier: Apache-2.0
//
// PeerLinks: a session's lanes to other sessions of the same parent, so that tensors go from host
// to host without passing through the parent's. All of it is at the parent's word (wire.h):
//
//   parent            the one that reads (B)         the one that sends (A)
//   expect TOKEN  --> lets one peer in
//   connect TOKEN --------------------------------> connects a lane to B, showing TOKEN
//   grant TENSOR  --> may be written over that lane
//   push          --------------------------------> writes its tensor into B's, piece by piece
//   revoke        --> may not be written any more
//
// A link goes one way. What a peer sends is a peer's bytes: it may write what the parent has
// granted for that link, whole tensors and nothing else; anything else ends the link.
//
// Threads: take() the data lane's, accept() any, take_answers() any. It has one of its own from the
//   first order on, and one for each connection while it is made. Blocking: the destructor, until a
//   connection that is being made is, or is given up.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "remote/lane.h"
#include "remote/session_memory.h"
#include "remote/wire.h"

namespace echelon {

/// How long a peer that was announced may take to connect.
inline constexpr std::chrono::seconds kPeerTokenLife{30};
/// Links of one session at a time, to peers and from them.
inline constexpr std::size_t kPeerLinksMax = 256;

/// What a session needs to reach its peers and be reached.
struct PeerPlace {
  /// Lets one peer in that shows `token` within `life`; its lane comes to accept().
  std::function<Status(const std::string& token, std::uint64_t link, std::chrono::nanoseconds life)>
      expect;
  std::function<Result<std::unique_ptr<Lane>>(const std::string& address, const std::string& token,
                                              LaneOptions options)>
      connect;
};

class PeerLinks {
 public:
  /// `answered` is called on any thread when take_answers() has something; it must not block.
  /// `memory` must outlive it.
  PeerLinks(SessionMemory& memory, std::function<void()> answered);
  ~PeerLinks();

  /// Before the first order; without it they are refused.
  void set_place(PeerPlace place);

  /// An order of the parent's: kExpect, kConnect, kGrant, kRevoke, kPush. Errors: kBadFrame.
  Status take(const DataMessage& message);
  struct Answer {
    DataKind kind = DataKind::kExpected;
    std::uint64_t request = 0;
    Status status;
  };
  std::vector<Answer> take_answers();
  bool has_answers() const;

  /// For accepting a peer's lane.
  LaneOptions lane_options() const;
  /// A peer that was let in.
  void accept(std::uint64_t link, std::unique_ptr<Lane> lane);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace echelon
