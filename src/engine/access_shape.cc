// SPDX-License-Identifier: Apache-2.0
#include "engine/access_shape.h"

#include <algorithm>

namespace echelon {

namespace {

/// Some bytes: those at `base` of the dimensions of `view` from `dimension` on, in a range.
struct RangeInView {
  const TensorDesc& view;
  std::uint64_t begin;
  std::uint64_t end;

  /// Bytes from the first element to the end of the last, over the dimensions from `dimension` on.
  std::uint64_t span_from(unsigned dimension) const {
    std::uint64_t last = 0;
    for (unsigned d = dimension; d < view.rank; ++d)
      last += static_cast<std::uint64_t>(view.extent[d] - 1) *
              static_cast<std::uint64_t>(view.stride[d]);
    return last + size_of(view.dtype);
  }

  /// Whether an element lies in the range. Exact where the strides descend; else it may say yes.
  bool touched(unsigned dimension, std::uint64_t base) const {
    const std::uint64_t span = span_from(dimension);
    if (base >= end || base + span <= begin) return false;
    if (dimension == view.rank || (base >= begin && base + span <= end)) return true;
    const auto stride = static_cast<std::uint64_t>(view.stride[dimension]);
    const auto extent = static_cast<std::uint64_t>(view.extent[dimension]);
    if (extent == 1) return touched(dimension + 1, base);
    const std::uint64_t block = span_from(dimension + 1);
    if (stride < block) return true;  // the blocks interleave: not decided
    // The first block that ends after `begin` and the last one that starts before `end`.
    const std::uint64_t first = begin < base + block ? 0 : (begin - base - block) / stride + 1;
    const std::uint64_t last = std::min(extent - 1, (end - 1 - base) / stride);
    if (first > last) return false;
    if (last - first >= 2) return true;  // the blocks between lie wholly in the range
    for (std::uint64_t i = first; i <= last; ++i)
      if (touched(dimension + 1, base + i * stride)) return true;
    return false;
  }
};

bool range_meets_view(const AccessShape& range, const TensorDesc& view) {
  return RangeInView{view, range.begin, range.end}.touched(0, view.offset);
}

}  // namespace

bool internal::views_overlap(const AccessShape& a, const AccessShape& b) {
  if (a.view == nullptr) return range_meets_view(a, *b.view);
  if (b.view == nullptr) return range_meets_view(b, *a.view);
  return may_overlap(*a.view, *b.view);
}

bool internal::view_covers(const AccessShape& outer, const AccessShape& inner) {
  return inner.view != nullptr && covers(*outer.view, *inner.view);
}

}  // namespace echelon
