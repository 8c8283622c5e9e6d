// SPDX-License-Identifier: Apache-2.0
#include "api/task_execution.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "api/shipped_callable.h"
#include "chip/strided.h"

namespace echelon::detail {

Status no_callable(const TaskFrame& task) {
  return Status::error(
      Code::kInvalidArgument, Reason::kBadArgument,
      fmt::format("slot {} holds no {} callable here", task.slot.value, to_string(task.kind)));
}

Result<const Callable*> find_callable(const CallableTable& callables, const TaskFrame& task) {
  const Callable* callable = callables.at(task.slot);
  if (callable != nullptr && callable->kind == task.kind) return callable;
  return no_callable(task);
}

Status copy_host_tensors(const TaskBody& body, WorkerPools& pools) {
  if (body.tensors.size() != 2) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("a copy of {} tensors; it takes a destination and a source",
                                     body.tensors.size()));
  }
  const TensorDesc& to = body.tensors[0].desc;
  const TensorDesc& from = body.tensors[1].desc;
  if (to.payload_bytes() != from.payload_bytes() || to.dtype != from.dtype) {
    return Status::error(Code::kInvalidArgument, Reason::kWrongType,
                         "a copy between different tensors");
  }
  ECHELON_ASSIGN_OR_RETURN(std::byte * to_at, pools.open(to, Access::kWrite));
  ECHELON_ASSIGN_OR_RETURN(const std::byte* from_at, pools.open(from, Access::kRead));
  // Views of one buffer may overlap.
  const bool one_buffer = to.issuer == from.issuer && to.buffer == from.buffer;
  if (to.contiguous() && !one_buffer) {
    gather(from, from_at, to_at);
  } else if (from.contiguous() && !one_buffer) {
    scatter(to, from_at, to_at);
  } else {
    std::vector<std::byte> dense(from.payload_bytes());
    gather(from, from_at, dense.data());
    scatter(to, dense.data(), to_at);
  }
  return {};
}

Status stopped_early(const TaskContext& context) {
  if (context.told_to_stop == Reason::kNone) return {};
  ErrorInfo info;
  info.reason = context.told_to_stop;
  if (info.reason == Reason::kDeadline) {
    info.code = Code::kDeadlineExceeded;
    info.cause = Cause::kDeadline;
    info.message = "it stopped when its deadline had passed";
  } else {
    info.code = Code::kCancelled;
    info.cause = Cause::kCancelled;
    info.message = "it stopped when it was cancelled";
  }
  return Status(std::move(info));
}

ErrorInfo located(ErrorInfo info, const std::string& path, const Callable* callable) {
  if (info.path.empty()) {
    info.path = path;
    info.pid = ::getpid();
  }
  if (info.callable.empty() && callable != nullptr) {
    info.callable = callable->name;
    info.digest = digest_of(*callable);
  }
  if (info.phase == Phase::kNone) info.phase = Phase::kRunning;
  if (info.cause == Cause::kNone) {
    info.cause = info.reason == Reason::kStaleHandle ? Cause::kStaleHandle : Cause::kRefused;
  }
  return info;
}

}  // namespace echelon::detail
