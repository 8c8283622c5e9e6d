// SPDX-License-Identifier: Apache-2.0
//
// LeafRegistration: how a sub-worker or a chip takes callables while it runs. What came becomes a
// job for whoever works on jobs(), which prepares it and answers.
//
// Threads: the hooks on the thread that reads the control ring, which works on jobs() next.
// Blocking: never.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "process/control_server.h"
#include "process/registrar_jobs.h"
#include "process/registration_codec.h"
#include "process/tree_edge.h"
#include "shm/channel.h"

namespace echelon {

/// What holds a leaf's callables. Called by one thread at a time, in the order of the frames.
class CallableHost {
 public:
  virtual ~CallableHost() = default;
  /// May block. Errors are the child's answer.
  virtual Status install(const RegisterRequest& request) = 0;
  /// Refuses it from now on, and lets it go once nothing runs it; then `gone`, on whichever thread.
  virtual void remove(CallableSlot slot, std::uint64_t serial, std::function<void()> gone) = 0;
};

/// Errors: kBadFrame where the payload is not what its digest says. Pickled code is not looked at:
/// it carries a digest of its own, which its language checks before it reads anything.
Status check_digest(const RegisterRequest& request);

class LeafRegistration final : public RegistrationHooks {
 public:
  LeafRegistration(std::string path, ChannelChild& channel, TreeEdge& edge,
                   std::shared_ptr<CallableHost> host);
  ~LeafRegistration() override;
  const std::shared_ptr<RegistrarJobs>& jobs() const;
  /// Where answers go: before the first frame, and nullptr before `server` ends.
  void answer_through(ControlServer* server);

  void on_register(std::uint64_t token, const RegisterFrame& frame) override;
  void on_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace echelon
