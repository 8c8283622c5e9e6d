// SPDX-License-Identifier: Apache-2.0
#include <echelon/run.h>

#include "api/node.h"
#include "api/run_context.h"
#include "api/run_state.h"
#include "api/throw_status.h"

namespace echelon {

using detail::RunState;

namespace {

RunState& state_of(const std::shared_ptr<RunState>& state) {
  if (state == nullptr)
    detail::throw_bad_argument("this Run is empty; Worker::submit() makes them");
  return *state;
}

/// Waiting from where it could never end is refused.
void check_may_wait(const RunState& state) {
  if (state.in_forked_copy()) {
    detail::throw_new(
        Code::kFailedPrecondition, Reason::kWrongState,
        "this Run belongs to another process, which this one was forked from; a task cannot "
        "wait for the run that it is part of, nor for any other of that process");
  }
  if (!state.ended() && detail::running_on_this_thread(state)) {
    detail::throw_new(
        Code::kFailedPrecondition, Reason::kWrongState,
        "waiting for a run from inside its own orchestration function would never end");
  }
}

}  // namespace

void Run::wait() const {
  const RunState& state = state_of(state_);
  wait_until(std::chrono::steady_clock::time_point::max());
  detail::throw_if_error(state.status());
}

bool Run::wait_until(std::chrono::steady_clock::time_point deadline) const {
  RunState& state = state_of(state_);
  check_may_wait(state);
  if (state.ended()) return true;
  const std::shared_ptr<detail::Node> node = state.node();
  if (node == nullptr) return state.ended();
  const bool for_ever = deadline == std::chrono::steady_clock::time_point::max();
  const auto ns = deadline.time_since_epoch().count();
  return node->wait_run(state, for_ever ? 0 : static_cast<MonotonicNs>(ns > 1 ? ns : 1));
}

bool Run::done() const {
  return state_of(state_).ended();
}

void Run::cancel() const {
  RunState& state = state_of(state_);
  if (state.ended() || state.in_forked_copy()) return;
  if (const std::shared_ptr<detail::Node> node = state.node()) {
    node->cancel_run(state,
                     Status::error(Code::kCancelled, Reason::kCancelled, "the run was cancelled"));
  }
}

std::vector<std::byte> Run::result_bytes() const {
  wait();
  return state_of(state_).result();
}

}  // namespace echelon
