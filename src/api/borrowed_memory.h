// SPDX-License-Identifier: Apache-2.0
//
// BorrowedMemory: memory of the program's own that a copy to or from a remote Worker reads or
// writes where it lies. It has a handle like any tensor, so that the graph orders and ends such a
// copy like any other; no other task may be given it, and no other process reaches it.
//
// Threads: safe. Ownership: shared by the Worker's node and the tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "api/tensor_state.h"
#include "base/ids.h"
#include "base/status.h"

namespace echelon::detail {

class BorrowedMemory : public std::enable_shared_from_this<BorrowedMemory> {
 public:
  explicit BorrowedMemory(Uid issuer) : issuer_(issuer) {}

  /// `bytes` as a tensor of them. `keeps` is let go of, on any thread, when the last handle is gone
  /// and the last task that uses it has ended: from then on nobody here touches the memory.
  Tensor lend(std::span<std::byte> bytes, Access access, std::shared_ptr<const void> keeps);
  /// Where such a tensor's first element is. Errors: kStaleHandle, kWrongAccess, kBadArgument.
  Result<std::byte*> open(const TensorDesc& desc, Access want) const;

  Uid issuer() const { return issuer_; }

 private:
  class Loan;

  void give_back(BufferId id);

  const Uid issuer_;
  mutable std::mutex mutex_;  // guards what follows
  std::uint64_t last_ = 0;
  std::map<BufferId, std::span<std::byte>> lent_;
};

}  // namespace echelon::detail
