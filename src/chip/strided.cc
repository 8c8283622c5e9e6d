// SPDX-License-Identifier: Apache-2.0
#include "chip/strided.h"

#include <cstring>

namespace echelon {

RunShape runs_of(const TensorDesc& desc) {
  RunShape shape;
  if (desc.element_count() == 0) return shape;
  shape.run_bytes = size_of(desc.dtype);
  unsigned outer = desc.rank;
  // Innermost dimensions that continue the run become part of it.
  while (outer > 0) {
    const auto extent = static_cast<std::uint64_t>(desc.extent[outer - 1]);
    if (extent != 1 && static_cast<std::uint64_t>(desc.stride[outer - 1]) != shape.run_bytes) break;
    shape.run_bytes *= extent;
    --outer;
  }
  for (unsigned i = 0; i < outer; ++i) {
    if (desc.extent[i] == 1) continue;
    shape.count[shape.rank] = static_cast<std::uint64_t>(desc.extent[i]);
    shape.stride[shape.rank] = static_cast<std::uint64_t>(desc.stride[i]);
    ++shape.rank;
  }
  return shape;
}

void gather(const TensorDesc& desc, const std::byte* from, std::byte* dense) {
  const RunShape shape = runs_of(desc);
  for_each_run(shape, [&](std::uint64_t offset, std::uint64_t at) {
    std::memcpy(dense + at, from + offset, shape.run_bytes);
  });
}

void scatter(const TensorDesc& desc, const std::byte* dense, std::byte* to) {
  const RunShape shape = runs_of(desc);
  for_each_run(shape, [&](std::uint64_t offset, std::uint64_t at) {
    std::memcpy(to + offset, dense + at, shape.run_bytes);
  });
}

}  // namespace echelon
