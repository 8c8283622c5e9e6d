// SPDX-License-Identifier: Apache-2.0
//
// Objects that C++ holds for as long as it uses their memory, and lets go of on threads that must
// not wait for the interpreter's lock: a driver's. They are parked, and dropped by whoever has the
// lock and comes by.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "python/interpreter.h"

namespace echelon::python {

class Parking : public std::enable_shared_from_this<Parking> {
 public:
  /// Holds `object` until the last copy of what it returns is gone, and then until sweep().
  /// REQUIRES: the interpreter's lock.
  std::shared_ptr<const void> hold(nb::object object);
  /// Drops what nobody uses any more. REQUIRES: the interpreter's lock.
  void sweep();

 private:
  std::mutex mutex_;  // guards what follows; never held while an object is dropped
  std::vector<std::unique_ptr<HeldObject>> parked_;
};

}  // namespace echelon::python
