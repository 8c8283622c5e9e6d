// SPDX-License-Identifier: Apache-2.0
#include "api/orchestration.h"

#include <unistd.h>

#include "api/throw_status.h"

namespace echelon::detail {

Status call_orchestration(Node& node, RunState& state, const OrchestrationFunction& fn,
                          TaskContext& context, Status& begun) {
  begun = node.refusal();
  if (!begun.ok()) return {};
  state.context = node.acquire_context();
  RunContext& run = *state.context;
  begun = run.begin(state, context.body->config, context.deadline_ns);
  if (!begun.ok()) return {};
  Orchestrator orchestrator(run);
  TaskArgs args(context);
  ErrorInfo info;
  try {
    fn(orchestrator, args);
    return {};
  } catch (const Error& error) {
    Status own = run.own_failure(error.info());
    if (own.ok() || !own.info().path.empty()) return own;
    info = error.info();
  } catch (...) {
    info = current_exception_info();
  }
  // What the function itself threw, or let through of our refusals, happened here.
  info.path = node.path();
  info.pid = ::getpid();
  info.phase = Phase::kRunning;
  if (info.cause == Cause::kNone) info.cause = Cause::kRefused;
  return Status(std::move(info));
}

Status run_orchestration(Node& node, RunState& state, const OrchestrationFunction& fn,
                         TaskContext& context) {
  Status begun;
  Status failure = call_orchestration(node, state, fn, context, begun);
  if (!begun.ok()) return begun;
  // The context is let go of with the run's end, while this is still using it.
  const std::shared_ptr<RunContext> run = state.context;
  run->seal_and_wait(std::move(failure));
  return state.status();
}

}  // namespace echelon::detail
