// SPDX-License-Identifier: Apache-2.0
//
// SubHost: what a sub-worker holds of the callables that came while it runs.
//
// Threads: install() and remove() by one thread at a time, the table as it says.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include <echelon/embedding.h>

#include "api/late_table.h"
#include "api/named_callables.h"
#include "process/leaf_registration.h"

namespace echelon::detail {

class SubHost final : public CallableHost {
 public:
  /// `language` may be nullptr; it must outlive this.
  explicit SubHost(const embedding::Language* language);

  LateTable& table() { return table_; }

  Status install(const RegisterRequest& request) override;
  void remove(CallableSlot slot, std::uint64_t serial, std::function<void()> gone) override;

 private:
  void let_go(CallableSlot slot, std::uint64_t serial);

  const embedding::Language* const language_;
  LateTable table_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::function<void()>> leaving_;                   // by serial
  std::map<std::uint64_t, std::shared_ptr<const LoadedLibrary>> libraries_;  // by serial
};

}  // namespace echelon::detail
