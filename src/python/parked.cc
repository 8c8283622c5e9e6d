// SPDX-License-Identifier: Apache-2.0
#include "python/parked.h"

#include <utility>

namespace echelon::python {

std::shared_ptr<const void> Parking::hold(nb::object object) {
  auto held = std::make_unique<HeldObject>(std::move(object));
  auto park = [lot = shared_from_this()](HeldObject* used) {
    const std::lock_guard lock(lot->mutex_);
    lot->parked_.emplace_back(used);
  };
  return std::shared_ptr<HeldObject>(held.release(), std::move(park));
}

void Parking::sweep() {
  std::vector<std::unique_ptr<HeldObject>> dropped;
  const std::lock_guard lock(mutex_);
  dropped.swap(parked_);
}

}  // namespace echelon::python
