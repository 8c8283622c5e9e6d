// SPDX-License-Identifier: Apache-2.0
#include "api/session_pool.h"

#include <fmt/format.h>

namespace echelon::detail {
namespace {

Status stale(const std::string& owner) {
  return Status::error(Code::kNotFound, Reason::kStaleHandle,
                       fmt::format("stale handle: {} holds no such tensor for its parent", owner));
}

}  // namespace

Result<TensorDesc> SessionPool::allocate(std::span<const std::int64_t> shape, DType dtype,
                                         bool zeroed) {
  try {
    Tensor tensor = allocate_host_tensor(pool_, Shape(shape.begin(), shape.end()), dtype, zeroed);
    const TensorDesc desc = TensorAccess::state(tensor)->desc;
    const std::lock_guard lock(mutex_);
    held_.emplace(desc.buffer, std::move(tensor));
    return desc;
  } catch (const Error& error) {
    return Status(error.info());
  }
}

Status SessionPool::free(BufferId buffer) {
  const std::lock_guard lock(mutex_);
  return held_.erase(buffer) != 0 ? Status() : stale(pool_->owner);
}

Result<std::byte*> SessionPool::open(const TensorDesc& tensor, Access want) {
  if (tensor.issuer != pool_->pool->issuer()) {
    return Status::error(Code::kInvalidArgument, Reason::kForeignHandle,
                         fmt::format("the tensor belongs to another Worker than {}", pool_->owner));
  }
  const std::lock_guard lock(mutex_);
  if (!held_.contains(tensor.buffer)) return stale(pool_->owner);
  return pool_->pool->open(tensor, want);
}

}  // namespace echelon::detail
