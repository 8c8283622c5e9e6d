// SPDX-License-Identifier: Apache-2.0
//
// SessionPool: the memory of a session's Worker as its parent reaches it: buffers that the parent
// asked for, in the Worker's own pool, and no others.
//
// Threads: safe. Blocking: never.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include <echelon/tensor.h>

#include "api/node_memory.h"
#include "remote/session_memory.h"

namespace echelon::detail {

class SessionPool final : public SessionMemory {
 public:
  explicit SessionPool(std::shared_ptr<OwnPool> pool) : pool_(std::move(pool)) {}

  Result<TensorDesc> allocate(std::span<const std::int64_t> shape, DType dtype,
                              bool zeroed) override;
  Status free(BufferId buffer) override;
  Result<std::byte*> open(const TensorDesc& tensor, Access want) override;

 private:
  const std::shared_ptr<OwnPool> pool_;
  std::mutex mutex_;
  std::map<BufferId, Tensor> held_;
};

}  // namespace echelon::detail
