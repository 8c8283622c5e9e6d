// SPDX-License-Identifier: Apache-2.0
//
// ControlServer: what a child answers on its control ring while its executor runs a callable:
// pings, cancels, shutdown, statistics, the executor's stack. A protocol without I/O; ControlThread
// drives it in sub-workers and chips, a next-level Worker's keeper drives it by poll().
//
// Threads: one thread at a time. Blocking: never; ControlThread sleeps on the control ring's word
//   and wakes every 5 s to see whether its spawner still lives.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "process/registrar_jobs.h"
#include "process/registration_codec.h"
#include "shm/channel.h"
#include "shm/doorbell.h"
#include "shm/frame.h"

namespace echelon {

/// What takes callables in while the child runs. Called on the control thread, and answers through
/// ControlServer::answer(), then or later. Neither may block.
class RegistrationHooks {
 public:
  virtual ~RegistrationHooks() = default;
  virtual void on_register(std::uint64_t token, const RegisterFrame& frame) = 0;
  virtual void on_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial) = 0;
};

/// Called on the control thread; none may block.
struct ControlHooks {
  std::function<void(TaskId)> cancel = nullptr;
  std::function<void()> shutdown = nullptr;
  /// The node's statistics (observe/node_stats.h), encoded; nullptr: answered with an empty body.
  std::function<std::vector<std::byte>()> stats = nullptr;
  /// The executor's stack as text, best effort; nullptr: "no stack".
  std::function<std::string()> stack = nullptr;
  /// nullptr: every callable is refused.
  RegistrationHooks* registration = nullptr;
};

/// Where answers go.
class ControlReplies {
 public:
  virtual void reply(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) = 0;

 protected:
  ~ControlReplies() = default;
};

/// The protocol alone: a frame in, answers and hook calls out.
class ControlProtocol {
 public:
  explicit ControlProtocol(ControlHooks hooks) : hooks_(std::move(hooks)) {}
  /// Errors: kBadFrame for a kind that does not belong on this ring or a body that cannot be read.
  Status handle(const FrameHeader& frame, std::span<const std::byte> body, ControlReplies& replies);

 private:
  Status handle_registration(const FrameHeader& frame, std::span<const std::byte> body,
                             ControlReplies& replies);

  ControlHooks hooks_;
};

/// The protocol over a channel's two control rings.
class ControlServer {
 public:
  /// All must outlive it.
  ControlServer(ChannelChild& channel, Doorbell& parent, ControlHooks hooks);
  ~ControlServer();

  /// Answers what has come. Errors: kBadFrame, once: the channel is marked failed, nothing is read
  /// any more, and the process should end.
  Status poll();

  /// For a keeper's futex_waitv: arm(), then poll(), then sleep on the word, then disarm().
  FutexWaiter arm();
  void disarm();
  /// True if poll() would find something.
  bool pending() const;

  /// Answers a registration. Any thread. False: the parent has to read some answers first.
  bool answer(FrameKind kind, std::uint64_t token, std::span<const std::byte> body);
  /// Before ChildConnection::ready(), once: for TreeChild's holder to take then
  /// (LocalEndpoint::take_announcement). Any thread. False: it does not fit.
  bool announce(std::span<const std::byte> body) { return answer(FrameKind::kAnnounce, 0, body); }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Runs a ControlServer until it is destroyed, or for ever after shutdown. Ends the process when
/// its spawner is no longer its parent, or the ring holds no frames.
///
/// With `jobs` the thread that read a frame does the work that it brought itself, as waking another
/// one costs about as much as the work. A second thread, made with the first job, keeps the ring
/// meanwhile:
///   both sleep on the ring's word; a frame wakes one of them;
///   before that one works it arms the word for the other one and looks at the ring once more.
/// So what comes while one works wakes the other, and nothing is woken otherwise.
class ControlThread {
 public:
  ControlThread(ControlServer& server, ChannelChild& channel, pid_t spawner_pid,
                std::shared_ptr<RegistrarJobs> jobs = nullptr);
  /// Stops `jobs`. A thread that a job holds is left to the end of the process.
  ~ControlThread();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace echelon
