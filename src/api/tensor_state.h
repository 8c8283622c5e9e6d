// SPDX-License-Identifier: Apache-2.0
//
// What stands behind the public Tensor: a view's geometry and a share in its buffer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <echelon/tensor.h>

#include "api/buffer.h"
#include "shm/tensor_desc.h"

namespace echelon::detail {

struct TensorState {
  TensorDesc desc;
  BufferRef buffer;
};

/// The one way from a public Tensor to its state and back.
struct TensorAccess {
  static const TensorState* state(const Tensor& tensor) { return tensor.state_.get(); }
  static Tensor make(const TensorDesc& desc, BufferRef buffer) {
    return Tensor(std::make_shared<const TensorState>(TensorState{desc, std::move(buffer)}));
  }
};

/// Bytes of a row-major tensor. Throws InvalidArgument: rank over 8, a negative extent, no dtype,
/// or a size that overflows.
std::uint64_t checked_bytes(const Shape& shape, DType dtype);

/// "float32[64, 10]"
std::string shape_text(DType dtype, std::span<const std::int64_t> extents);

/// Throws InvalidArgument for another dtype or rank than the tensor's, or where writing is asked of
/// a tensor that may only be read.
void check_view(const TensorDesc& desc, const ViewRequest& request);
/// The view of `desc` whose first element is at `first`.
ViewLayout make_layout(const TensorDesc& desc, std::byte* first);

}  // namespace echelon::detail
