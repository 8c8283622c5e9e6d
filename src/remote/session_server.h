// SPDX-License-Identifier: Apache-2.0
//
// SessionServer: a session's end of its three lanes. Tasks run on the executor, which polls the
// task lane while it has none; tensors are served by a thread of their own, so that no transfer
// waits for a callable; health and control by a third, so that a callable that runs for ten minutes
// or holds an interpreter does not look like a death. Bytes from the parent are a peer's bytes: bad
// ones end this session with a reason.
//
// Threads: serve() on the executor; attach() on any, stop(), answer(), the rest likewise. It has
//   two of its own from the first attach() of their lanes until it is destroyed; hooks and
//   SessionMemory are called on those. Blocking: serve() until told to stop; the destructor joins.
// Fork: none after attach().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/env.h"
#include "process/control_server.h"
#include "process/registration_uplink.h"
#include "process/task_server.h"
#include "remote/lane.h"
#include "remote/peer_links.h"
#include "remote/session_memory.h"

namespace echelon {

struct SessionServerOptions {
  std::string path;  // names this session in errors
  /// A parent that is silent for so long is taken for lost: counted from the health lane's
  /// attach(). A ping may ask for less or more. 0: for ever.
  std::chrono::nanoseconds lease = std::chrono::seconds(10);
  /// From serve() to the last of the three lanes; a parent that takes longer is taken for lost.
  std::chrono::nanoseconds lanes_within = std::chrono::seconds(30);
  std::chrono::nanoseconds words_wait = std::chrono::milliseconds(200);
  /// All three are attached: nobody else is waited for. Once, on the thread that attaches.
  std::function<void()> on_lanes;
  /// The parent is lost, or sent what is no message: serve() ends with it after the task that runs.
  /// Once, on any thread; must not block. A session whose callable goes on for ever ends its
  /// process from here.
  std::function<void(const Status& why)> on_lost;
};

class SessionServer final : public RegistrationUplink {
 public:
  /// `memory`, what the hooks use, and `env` must outlive it. hooks.cancel may be left out:
  /// TaskFrame::cancelled() says it in any case; where set it is called in addition.
  SessionServer(SessionServerOptions options, SessionMemory& memory, ControlHooks hooks, Env& env);
  ~SessionServer();

  /// For accepting a lane that will be attached.
  LaneOptions lane_options(LaneRole role);
  /// A lane that was let in; each role once. Messages are served from here on.
  void attach(LaneRole role, std::unique_ptr<Lane> lane);

  /// Its links to other sessions, which come to accept_peer(). Before the data lane's attach().
  void connect_peers(PeerPlace place);
  void accept_peer(std::uint64_t link, std::unique_ptr<Lane> lane);

  /// Until stop(): OK; otherwise why the parent is lost. Waits for the lanes, too.
  Status serve(TaskHandler& handler);
  /// Ends serve() after the task that is running.
  void stop();
  /// The same, not by its parent's will: tasks that fail from here on are left to its end.
  void abandon();
  /// Tells the parent why, as far as the lanes hold, and closes them. After serve(). Blocking:
  /// until the words are out, `words_wait` at most, as the process may end next.
  void close(const Status& why);

  /// `task` should stop: as the health lane's cancel.
  void request_cancel(TaskId task);
  /// How long the parent was not heard on the health lane; since attach() at most. 0 before.
  std::chrono::nanoseconds silent_for() const;

  const TaskServerCounters& counters() const;
  /// The task that runs now; 0 between tasks.
  TaskId running() const;

  // --- RegistrationUplink: for the Registrar
  Result<std::shared_ptr<const Payload>> take_payload(std::uint64_t id,
                                                      std::uint64_t bytes) override;
  bool answer(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace echelon
