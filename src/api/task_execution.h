// SPDX-License-Identifier: Apache-2.0
//
// What sub-workers and next-level Workers share in running a task.
#pragma once

#include <string>

#include "api/callables.h"
#include "api/task_context.h"
#include "process/task_server.h"

namespace echelon::detail {

/// The callable of a frame. Errors: kBadArgument where there is none of this kind in the slot.
Result<const Callable*> find_callable(const CallableTable& callables, const TaskFrame& task);

/// The same error, for callables that are found elsewhere.
Status no_callable(const TaskFrame& task);

/// Copies the second tensor of the body into the first (TaskKind::kCopy), both in host memory.
Status copy_host_tensors(const TaskBody& body, WorkerPools& pools);

/// The error of a callable that has seen that it should stop and then returned: what it leaves is
/// not what its task promised. OK: it has not seen it.
Status stopped_early(const TaskContext& context);

/// Fills in where it happened, and in what.
ErrorInfo located(ErrorInfo info, const std::string& path, const Callable* callable);

/// Reports a Status that is not ok.
inline void report(const Status& status, const std::string& path, const Callable* callable,
                   ResultSink& sink) {
  sink.error(located(status.info(), path, callable));
}

}  // namespace echelon::detail
