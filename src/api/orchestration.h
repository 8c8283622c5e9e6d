// SPDX-License-Identifier: Apache-2.0
//
// One call of an orchestration function, in whichever process: the run around it, the context it
// sees, what becomes of its exceptions.
#pragma once

#include <functional>

#include <echelon/orchestrator.h>
#include <echelon/task.h>

#include "api/node.h"
#include "api/task_context.h"

namespace echelon::detail {

using OrchestrationFunction = std::function<void(Orchestrator&, TaskArgs&)>;

/// Begins a run that reports to `state`, and calls `fn` on this thread. Returns what its exception
/// adds to the run; the run is not sealed. Errors of beginning are returned in `begun`.
Status call_orchestration(Node& node, RunState& state, const OrchestrationFunction& fn,
                          TaskContext& context, Status& begun);

/// The same, sealed and waited for: the run's status.
Status run_orchestration(Node& node, RunState& state, const OrchestrationFunction& fn,
                         TaskContext& context);

}  // namespace echelon::detail
