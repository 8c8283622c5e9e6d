// SPDX-License-Identifier: Apache-2.0
#include "chip/late_images.h"

#include <utility>

#include "base/syscall.h"

namespace echelon {

Status LateImages::install(const RegisterRequest& request) {
  if (request.kind != RegisteredKind::kChip || request.payload->fd() < 0) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         "a chip takes chip images alone");
  }
  ECHELON_RETURN_IF_ERROR(check_digest(request));
  ECHELON_ASSIGN_OR_RETURN(UniqueFd file, duplicate_fd(request.payload->fd()));
  ECHELON_ASSIGN_OR_RETURN(PushedImage image,
                           PushedImage::open(std::move(file), request.payload->bytes().size()));
  const std::lock_guard lock(mutex_);
  changes_[request.slot] = std::move(image);
  note_locked();
  return {};
}

void LateImages::remove(CallableSlot slot, std::uint64_t, std::function<void()> gone) {
  {
    const std::lock_guard lock(mutex_);
    changes_[slot] = std::nullopt;
    note_locked();
  }
  // Its tasks have ended, and what comes for this slot later is loaded after this.
  gone();
}

void LateImages::note_locked() {
  // pairs with pending()
  pending_.store(true, std::memory_order_release);
}

std::map<CallableSlot, std::optional<PushedImage>> LateImages::take() {
  const std::lock_guard lock(mutex_);
  pending_.store(false, std::memory_order_relaxed);
  return std::exchange(changes_, {});
}

}  // namespace echelon
