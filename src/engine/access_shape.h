// SPDX-License-Identifier: Apache-2.0
//
// AccessShape: which bytes of a buffer an access touches. Mostly a plain range of bytes; a strided
// view keeps its geometry beside the range.
#pragma once

#include <cstdint>

#include "shm/tensor_desc.h"

namespace echelon {

struct AccessShape {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;             // one past the last byte; begin: nothing at all
  const TensorDesc* view = nullptr;  // nullptr: every byte of the range

  bool empty() const { return begin == end; }
};

/// The shape of a tensor; `view` points to `desc` where it has gaps.
inline AccessShape shape_of(const TensorDesc& desc) {
  const std::uint64_t element = size_of(desc.dtype);
  std::uint64_t dense = element;  // of the dimensions seen so far, without gaps
  std::uint64_t last = 0;         // offset of the last element
  bool gaps = false;
  for (unsigned d = desc.rank; d-- > 0;) {
    const auto extent = static_cast<std::uint64_t>(desc.extent[d]);
    const auto stride = static_cast<std::uint64_t>(desc.stride[d]);
    if (extent == 0) return {};
    gaps |= extent != 1 && stride != dense;
    last += (extent - 1) * stride;
    dense *= extent;
  }
  return {desc.offset, desc.offset + last + element, gaps ? &desc : nullptr};
}

namespace internal {
bool views_overlap(const AccessShape& a, const AccessShape& b);
bool view_covers(const AccessShape& outer, const AccessShape& inner);
}  // namespace internal

/// True unless the two provably share no byte. Of one buffer.
inline bool shapes_overlap(const AccessShape& a, const AccessShape& b) {
  if (a.begin >= b.end || b.begin >= a.end) return false;
  return (a.view == nullptr && b.view == nullptr) || internal::views_overlap(a, b);
}

/// True if every byte of `inner` is provably one of `outer`. Of one buffer.
inline bool shape_covers(const AccessShape& outer, const AccessShape& inner) {
  if (inner.begin < outer.begin || inner.end > outer.end) return false;
  return outer.view == nullptr || internal::view_covers(outer, inner);
}

}  // namespace echelon
