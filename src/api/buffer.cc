// SPDX-License-Identifier: Apache-2.0
#include "api/buffer.h"

#include <fmt/format.h>

namespace echelon::detail {

void Buffer::add_handle() {
  handles_.fetch_add(1, std::memory_order_relaxed);
  references_.fetch_add(1, std::memory_order_relaxed);
}

void Buffer::drop_handle() {
  // pairs with itself: the last of the handles sees what the others did to the buffer
  if (handles_.fetch_sub(1, std::memory_order_acq_rel) == 1) drop_shared_claim();
  drop_reference();
}

void Buffer::free() {
  drop_shared_claim();
}

bool Buffer::try_pin() {
  // pairs with drop_shared_claim's exchange: a freed buffer is not pinned again
  if (freed_.load(std::memory_order_acquire)) return false;
  std::uint32_t claims = claims_.load(std::memory_order_relaxed);
  while (claims != 0) {
    if (claims_.compare_exchange_weak(claims, claims + 1, std::memory_order_relaxed)) {
      references_.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
  }
  return false;
}

void Buffer::unpin() {
  drop_claim();
  drop_reference();
}

Status Buffer::check_usable() const {
  // pairs with drop_shared_claim's exchange
  if (!freed_.load(std::memory_order_acquire)) return {};
  return Status::error(Code::kNotFound, Reason::kStaleHandle,
                       fmt::format("stale handle: the tensor of {} was freed", describe()));
}

void Buffer::drop_shared_claim() {
  // pairs with try_pin's and check_usable's loads
  if (freed_.exchange(true, std::memory_order_acq_rel)) return;
  leave_to_pins();
  drop_claim();
}

void Buffer::drop_claim() {
  // pairs with itself: the last one sees all uses of the memory before it gives it back
  if (claims_.fetch_sub(1, std::memory_order_acq_rel) == 1 && !mark_.in_forked_copy()) give_back();
}

void Buffer::drop_reference() {
  // pairs with itself: the last one sees all uses of the object before it deletes it
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

}  // namespace echelon::detail
