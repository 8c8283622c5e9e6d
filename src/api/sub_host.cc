// SPDX-License-Identifier: Apache-2.0
#include "api/sub_host.h"

#include <utility>

#include "api/shipped_callable.h"

namespace echelon::detail {

SubHost::SubHost(const embedding::Language* language) : language_(language) {
  // On the thread that ends the last use: the executor's, between its tasks.
  table_.when_drained([this](CallableSlot slot, std::uint64_t serial) { let_go(slot, serial); });
}

Status SubHost::install(const RegisterRequest& request) {
  if (request.kind == RegisteredKind::kLibrary) {
    ECHELON_RETURN_IF_ERROR(check_digest(request));
    ECHELON_ASSIGN_OR_RETURN(auto library, LoadedLibrary::open(request.payload, request.name));
    const std::lock_guard lock(mutex_);
    libraries_[request.serial] = std::move(library);
    return {};
  }
  if (request.kind != RegisteredKind::kSub) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         "a sub-worker takes sub functions and libraries alone");
  }
  ECHELON_ASSIGN_OR_RETURN(Callable callable, make_callable(request, language_));
  return table_.insert(request.slot, request.serial, request.owner, std::move(callable));
}

void SubHost::remove(CallableSlot slot, std::uint64_t serial, std::function<void()> gone) {
  {
    const std::lock_guard lock(mutex_);
    leaving_[serial] = std::move(gone);
  }
  if (table_.close(slot, serial)) let_go(slot, serial);
}

void SubHost::let_go(CallableSlot slot, std::uint64_t serial) {
  std::function<void()> gone;
  {
    // Both destroyed before the answer, and without the lock.
    const Callable callable = table_.remove(slot, serial);
    std::shared_ptr<const LoadedLibrary> library;
    const std::lock_guard lock(mutex_);
    if (auto found = leaving_.extract(serial); !found.empty()) gone = std::move(found.mapped());
    if (auto found = libraries_.extract(serial); !found.empty()) library = found.mapped();
  }
  if (gone) gone();
}

}  // namespace echelon::detail
