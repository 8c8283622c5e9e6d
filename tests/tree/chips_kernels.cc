// SPDX-License-Identifier: Apache-2.0
//
// Kernels of chips_test.cc.
#include <echelon/chip_kernel.h>

#include <cstdint>
#include <stdexcept>

namespace kernel = echelon::kernel;

// y = factor * x, blocks interleaved
ECHELON_KERNEL(scale) {
  const auto x = kernel::values<const float>(args, context, 0);
  const auto y = kernel::values<float>(args, context, 1);
  const float factor = kernel::scalar<float>(args, context, 0);
  for (std::size_t i = context->grid_index[0]; i < x.size(); i += context->grid[0])
    y[i] = factor * x[i];
}

// x += 1
ECHELON_KERNEL(increment) {
  for (float& value : kernel::values<float>(args, context, 0)) value += 1.0f;
}

// Writes the first element alone.
ECHELON_KERNEL(touch_first) {
  kernel::values<float>(args, context, 0)[0] = 1.0f;
}

// y[0] = how many elements of x are 77: what the host had there must not be found.
ECHELON_KERNEL(count_77) {
  std::int64_t count = 0;
  for (const float value : kernel::values<float>(args, context, 0)) count += value == 77.0f;
  kernel::values<std::int64_t>(args, context, 1)[0] = count;
}

// out[block] += 1, cores[block] = the core it ran on
ECHELON_KERNEL(mark_blocks) {
  const auto out = kernel::values<std::int32_t>(args, context, 0);
  const auto cores = kernel::values<std::int32_t>(args, context, 1);
  const std::size_t block =
      context->grid_index[0] +
      context->grid[0] *
          (context->grid_index[1] + std::size_t{context->grid[1]} * context->grid_index[2]);
  out[block] += 1;
  cores[block] = static_cast<std::int32_t>(context->core);
}

ECHELON_KERNEL(throws) {
  throw std::range_error("too hot");
}

ECHELON_KERNEL(crashes) {
  volatile int* nowhere = reinterpret_cast<volatile int*>(std::uintptr_t{16});
  *nowhere = 1;
}
