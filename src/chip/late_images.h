// SPDX-License-Identifier: Apache-2.0
//
// LateImages: chip images that came while the chip runs, on their way from the control side, which
// checks and acknowledges them even while a kernel runs, to the executor, which alone may use the
// device: it loads and unloads before its next task.
//
// Threads: install() and remove() by one thread at a time; the rest on the executor. Blocking:
// never.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "base/ids.h"
#include "base/status.h"
#include "chip/image_push.h"
#include "process/leaf_registration.h"

namespace echelon {

class LateImages final : public CallableHost {
 public:
  /// Errors: kBadFrame where it is no image, or another than its digest says.
  Status install(const RegisterRequest& request) override;
  void remove(CallableSlot slot, std::uint64_t serial, std::function<void()> gone) override;

  /// Cheap: one load.
  // pairs with note_locked()
  bool pending() const { return pending_.load(std::memory_order_acquire); }
  /// What is to be done, the last for each slot: an image to load, or nothing in its place.
  std::map<CallableSlot, std::optional<PushedImage>> take();

 private:
  void note_locked();

  std::atomic<bool> pending_{false};
  std::mutex mutex_;
  std::map<CallableSlot, std::optional<PushedImage>> changes_;
};

}  // namespace echelon
