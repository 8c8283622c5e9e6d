// SPDX-License-Identifier: Apache-2.0
#include "api/shipped_callable.h"

#include <fmt/format.h>

#include <utility>

#include "api/named_callables.h"
#include "api/throw_status.h"
#include "base/check.h"
#include "process/leaf_registration.h"

namespace echelon::detail {
namespace {

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Status make_named(const RegisterRequest& request, Callable& callable) {
  const std::string_view name = text_of(request.payload->bytes());
  ECHELON_ASSIGN_OR_RETURN(NamedFunction function, find_named(callable.kind, name));
  callable.library = std::move(function.library);
  callable.sub = std::move(function.sub);
  callable.orch = std::move(function.orch);
  return {};
}

Status make_in_language(const RegisterRequest& request, const embedding::Language* language,
                        Callable& callable) {
  const bool sub = callable.kind == TaskKind::kSub;
  if (language == nullptr || (sub ? !language->load_sub : !language->load_orch)) {
    return Status::error(Code::kFailedPrecondition, Reason::kBadArgument,
                         native_refusal(request.name, callable.kind));
  }
  embedding::Shipment shipment;
  shipment.form = request.form;
  shipment.name = request.name;
  shipment.payload = request.payload->bytes();
  shipment.sealed = request.payload->fd() >= 0;
  try {
    if (sub) {
      callable.sub = language->load_sub(shipment);
    } else {
      callable.orch = language->load_orch(shipment);
    }
  } catch (...) {
    return Status(current_exception_info());
  }
  if (callable.sub || callable.orch) return {};
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                       "its language made nothing that can be called");
}

}  // namespace

TaskKind task_kind(RegisteredKind kind) {
  ECHELON_CHECK(kind != RegisteredKind::kLibrary);
  return kind == RegisteredKind::kOrch   ? TaskKind::kOrch
         : kind == RegisteredKind::kChip ? TaskKind::kChip
                                         : TaskKind::kSub;
}

void refuse_calls(Callable& callable, std::string why) {
  const Status refusal =
      Status::error(Code::kFailedPrecondition, Reason::kBadArgument, std::move(why));
  callable.library = nullptr;
  if (callable.kind == TaskKind::kSub) {
    callable.sub = [refusal](Task&) { throw_error(refusal.shared_info()); };
  } else {
    callable.orch = [refusal](Orchestrator&, TaskArgs&) { throw_error(refusal.shared_info()); };
  }
}

bool needs_language(embedding::Form form) {
  return form == embedding::Form::kImportPath || form == embedding::Form::kPickle;
}

std::string native_refusal(std::string_view name, TaskKind kind) {
  const bool orch = kind == TaskKind::kOrch;
  return fmt::format(
      "\"{}\" is a function of Python, and this Worker runs C++ alone (runtime \"native\"): say "
      "runtime=\"python\" in its RemoteWorkerSpec, or write the function as ECHELON_{} in a "
      "library, then register_library() that and register_{}() its name",
      name, orch ? "ORCH" : "SUB", orch ? "orch" : "sub");
}

std::string identity_of(RegisteredKind kind, embedding::Form form, const Digest& payload) {
  return to_hex(sha256(fmt::format("shipped\n{}\n{}\n{}", to_string(kind),
                                   static_cast<unsigned>(form), to_hex(payload))));
}

std::string digest_of(const Callable& callable) {
  if (!callable.shipped) return callable.digest;
  const RegisteredKind kind = callable.kind == TaskKind::kOrch   ? RegisteredKind::kOrch
                              : callable.kind == TaskKind::kChip ? RegisteredKind::kChip
                                                                 : RegisteredKind::kSub;
  return identity_of(kind, callable.form, *callable.shipped);
}

Callable describe_callable(const RegisterRequest& request) {
  Callable callable;
  callable.kind = task_kind(request.kind);
  callable.name = request.name;
  callable.form = request.form;
  callable.shipped = request.digest;
  return callable;
}

Result<Callable> make_callable(const RegisterRequest& request,
                               const embedding::Language* language) {
  ECHELON_RETURN_IF_ERROR(check_digest(request));
  Callable callable = describe_callable(request);
  ECHELON_RETURN_IF_ERROR(request.form == embedding::Form::kName
                              ? make_named(request, callable)
                              : make_in_language(request, language, callable));
  return callable;
}

}  // namespace echelon::detail
