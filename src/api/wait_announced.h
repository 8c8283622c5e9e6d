// SPDX-License-Identifier: Apache-2.0
//
// A language's runtime is told that this thread is about to sleep, and asked whether to go on.
#pragma once

#include <utility>

#include <echelon/embedding.h>

#include "base/env.h"

namespace echelon::detail {

class WaitAnnounced {
 public:
  explicit WaitAnnounced(const embedding::Language* language) : language_(language) {
    if (language_ != nullptr && language_->before_wait) language_->before_wait();
  }
  ~WaitAnnounced() {
    if (language_ != nullptr && language_->after_wait) language_->after_wait();
  }
  WaitAnnounced(const WaitAnnounced&) = delete;
  WaitAnnounced& operator=(const WaitAnnounced&) = delete;

 private:
  const embedding::Language* const language_;
};

/// How long a wait lasts before check_wait() is asked again.
constexpr MonotonicNs kWaitSliceNs = 50'000'000;

/// Waits until `wait(until)` returns true (absolute, 0: no deadline), announced. Throws what the
/// language's check_wait() throws.
template <class Wait>
void wait_announced(const embedding::Language* language, Env& env, Wait&& wait) {
  const bool asked = language != nullptr && language->check_wait != nullptr;
  for (;;) {
    {
      const WaitAnnounced announced(language);
      if (wait(asked ? env.now_ns() + kWaitSliceNs : 0) || !asked) return;
    }
    language->check_wait();
  }
}

}  // namespace echelon::detail
