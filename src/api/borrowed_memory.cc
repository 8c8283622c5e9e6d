// SPDX-License-Identifier: Apache-2.0
#include "api/borrowed_memory.h"

#include <array>
#include <string>
#include <utility>

#include "shm/pool.h"

namespace echelon::detail {

class BorrowedMemory::Loan final : public Buffer {
 public:
  Loan(std::shared_ptr<BorrowedMemory> of, BufferId id, std::shared_ptr<const void> keeps)
      : Buffer(of->issuer(), id, of->issuer()), of_(std::move(of)), keeps_(std::move(keeps)) {}

  Result<std::byte*> address(const TensorDesc& desc, Access want) const override {
    return of_->open(desc, want);
  }
  std::string describe() const override { return "the program's own memory"; }

 private:
  void give_back() override {
    of_->give_back(id());
    keeps_.reset();
  }

  const std::shared_ptr<BorrowedMemory> of_;
  std::shared_ptr<const void> keeps_;
};

Tensor BorrowedMemory::lend(std::span<std::byte> bytes, Access access,
                            std::shared_ptr<const void> keeps) {
  BufferId id;
  {
    const std::lock_guard lock(mutex_);
    id = BufferId::make(0, ++last_);
    lent_.emplace(id, bytes);
  }
  BufferRef buffer(new Loan(shared_from_this(), id, std::move(keeps)));
  const std::array<std::int64_t, 1> shape = {static_cast<std::int64_t>(bytes.size())};
  return TensorAccess::make(make_contiguous(issuer_, id, issuer_, DType::kUInt8, shape, access),
                            std::move(buffer));
}

Result<std::byte*> BorrowedMemory::open(const TensorDesc& desc, Access want) const {
  const std::lock_guard lock(mutex_);
  const auto found = lent_.find(desc.buffer);
  if (found == lent_.end() || desc.issuer != issuer_) {
    return Status::error(Code::kNotFound, Reason::kStaleHandle,
                         "stale handle: the memory was lent to a copy that has ended");
  }
  ECHELON_RETURN_IF_ERROR(echelon::check_view(desc, want, found->second.size()));
  return found->second.data() + desc.offset;
}

void BorrowedMemory::give_back(BufferId id) {
  const std::lock_guard lock(mutex_);
  lent_.erase(id);
}

}  // namespace echelon::detail
