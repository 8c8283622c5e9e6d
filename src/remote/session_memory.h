// SPDX-License-Identifier: Apache-2.0
//
// SessionMemory: the memory of a session's Worker as its parent reaches it over the data lane.
// Owned by remote/, implemented where the Worker's memory is (api/).
//
// Threads: safe. Blocking: never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <echelon/dtype.h>

#include "base/ids.h"
#include "base/status.h"
#include "shm/tensor_desc.h"

namespace echelon {

class SessionMemory {
 public:
  /// A row-major tensor of this Worker's pool, its bytes zero where `zeroed`, otherwise undefined.
  /// Kept until free(). Errors: kBadArgument, kExhausted with the pool's sizes.
  virtual Result<TensorDesc> allocate(std::span<const std::int64_t> shape, DType dtype,
                                      bool zeroed) = 0;
  /// Errors: kStaleHandle.
  virtual Status free(BufferId buffer) = 0;
  /// Where the tensor's first element is here. Errors: kStaleHandle, kForeignHandle, kWrongAccess.
  virtual Result<std::byte*> open(const TensorDesc& tensor, Access want) = 0;

 protected:
  ~SessionMemory() = default;
};

}  // namespace echelon
