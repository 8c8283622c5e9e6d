// SPDX-License-Identifier: Apache-2.0
//
// PeerCopies: copies from one session's memory into another's, as their parent has them made: the
// bytes go from host to host (peer_links.h). One object for each session that they come from.
//
//   link       Idle -> Expecting -> Connecting -> Open     the first copy to a session makes it;
//   one
//                    that fails is made anew, with another token, by the next copy
//   copy       Waiting (for the link) -> Granting -> Pushing -> done
//                                                            -> Revoking -> failed
//
// A copy that failed has ended only when the receiving session has confirmed that no byte of it is
// written any more: its memory may then be used for something else.
//
// Threads: the driver's alone. Blocking: never.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "remote/data_client.h"
#include "shm/tensor_desc.h"

namespace echelon {

/// A session that copies go to, as its parent knows it.
struct PeerTarget {
  Uid pool;
  std::string path;
  std::string address;  // where its lanes listen
  DataClient* data = nullptr;
};

class PeerCopies {
 public:
  /// `source` is the sending session's lane, `path` its place in the tree; `wake` says that
  /// take_ended() has something. All must outlive it.
  PeerCopies(DataClient& source, const std::string& path, Env& env, std::function<void()> wake)
      : source_(source), path_(path), env_(env), wake_(std::move(wake)) {}

  void start(TaskId task, const TensorDesc& from, const TensorDesc& to, const PeerTarget& target);
  /// True: no byte of it was moved, and none will be.
  bool try_recall(TaskId task);
  /// Ends it with `why`, as soon as no byte of it is written any more. Nothing for one unknown.
  void stop(TaskId task, const Status& why);
  bool has_ended() const { return !ended_.empty(); }
  void take_ended(std::vector<std::pair<TaskId, Status>>& into);
  /// The sending session is down: what it was granted is revoked, and nothing is reported any more.
  void close();

 private:
  enum class LinkState : std::uint8_t { kIdle, kExpecting, kConnecting, kOpen };
  struct Link {
    PeerTarget target;
    LinkState state = LinkState::kIdle;
    std::uint64_t id = 0;
    std::string token;
  };
  enum class Step : std::uint8_t { kWaiting, kGranting, kPushing, kRevoking };
  struct Copy {
    TensorDesc from;
    TensorDesc to;
    Uid to_pool;
    Step step = Step::kWaiting;
    std::uint64_t link = 0;
    std::uint64_t grant = 0;
    Status why;  // kRevoking, or what stops it
  };
  using Copies = std::map<TaskId, Copy>;

  void expect(Link& link);
  void connect(Link& link);
  void link_failed(Link& link, const Status& why);
  std::vector<TaskId> waiting_for(Uid pool) const;
  void grant(TaskId task, Copy& copy, Link& link);
  void push(TaskId task);
  void pushed(TaskId task, const Status& status);
  void revoke(TaskId task, Copy& copy, Status why);
  void revoke_grant(const Copy& copy, DataClient::Ordered done);
  void end(TaskId task, Status status);
  Status unreachable(const Link& link, const Status& why) const;
  /// `then(status)`, unless this was closed, or destroyed, meanwhile.
  DataClient::Ordered guarded(std::function<void(const Status&)> then);

  DataClient& source_;
  const std::string& path_;
  Env& env_;
  const std::function<void()> wake_;
  std::map<Uid, Link> links_;
  Copies copies_;
  std::vector<std::pair<TaskId, Status>> ended_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
};

}  // namespace echelon
