// SPDX-License-Identifier: Apache-2.0
//
// Copies between views of memory with gaps: gathering a tensor into dense row-major bytes, and
// scattering it back. Dimensions without gaps are folded, so that a contiguous view is one copy and
// the slice of a matrix one copy a row.
//
// Threads: safe. The two views must not overlap.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "shm/tensor_desc.h"

namespace echelon {

/// A view as nested loops over runs of bytes without gaps: the outermost dimension first.
struct RunShape {
  unsigned rank = 0;
  std::array<std::uint64_t, kTensorRankMax> count{};
  std::array<std::uint64_t, kTensorRankMax> stride{};  // bytes
  std::uint64_t run_bytes = 0;                         // 0: the tensor is empty
};
RunShape runs_of(const TensorDesc& desc);

/// Calls visit(offset of the run in the view, offset in the dense bytes) for each run, in order.
template <class Visit>
void for_each_run(const RunShape& shape, Visit visit) {
  if (shape.run_bytes == 0) return;
  std::array<std::uint64_t, kTensorRankMax> index{};
  std::uint64_t dense = 0, offset = 0;
  for (;;) {
    visit(offset, dense);
    dense += shape.run_bytes;
    unsigned i = shape.rank;
    while (i > 0) {
      --i;
      offset += shape.stride[i];
      if (++index[i] < shape.count[i]) break;
      offset -= shape.stride[i] * shape.count[i];
      index[i] = 0;
      if (i == 0) return;
    }
    if (shape.rank == 0) return;
  }
}

/// The elements of `desc`, whose first lies at `from`, without gaps to `dense`.
void gather(const TensorDesc& desc, const std::byte* from, std::byte* dense);
/// The other way.
void scatter(const TensorDesc& desc, const std::byte* dense, std::byte* to);

}  // namespace echelon
