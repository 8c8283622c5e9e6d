// SPDX-License-Identifier: Apache-2.0
//
// Kernels for the tests of chips, as a user would write them.
#include <stdexcept>

#include <echelon/chip_kernel.h>

namespace kernel = echelon::kernel;

/// y = factor * x, blocks interleaved.
ECHELON_KERNEL(scale) {
  const auto x = kernel::values<const float>(args, context, 0);
  const auto y = kernel::values<float>(args, context, 1);
  const auto factor = kernel::scalar<float>(args, context, 0);
  for (std::size_t i = context->grid_index[0]; i < x.size(); i += context->grid[0]) {
    y[i] = factor * x[i];
  }
}

/// x += 1 for every element, whatever its strides (rank 2).
ECHELON_KERNEL(increment) {
  const echelon_kernel_tensor& t = kernel::tensor(args, context, 0);
  for (std::int64_t i = 0; i < t.extent[0]; ++i) {
    for (std::int64_t j = 0; j < t.extent[1]; ++j) {
      *reinterpret_cast<float*>(static_cast<char*>(t.data) + i * t.stride[0] + j * t.stride[1]) +=
          1;
    }
  }
}

/// y = x, bytes as they are: shows what was in device memory.
ECHELON_KERNEL(copy_floats) {
  const auto x = kernel::values<const float>(args, context, 0);
  const auto y = kernel::values<float>(args, context, 1);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = x[i];
}

/// Writes nothing at all.
ECHELON_KERNEL(idle) {}

/// Block number + 1 at its place: each block must have been called once.
ECHELON_KERNEL(count_blocks) {
  const auto hits = kernel::values<std::uint32_t>(args, context, 0);
  const auto cores = kernel::values<std::uint32_t>(args, context, 1);
  const std::size_t block =
      context->grid_index[0] +
      context->grid[0] *
          (context->grid_index[1] + std::size_t{context->grid[1]} * context->grid_index[2]);
  hits[block] += static_cast<std::uint32_t>(block) + 1;
  cores[block] = context->core < context->cores ? context->cores : 0;
}

/// Fails in block 3.
ECHELON_KERNEL(fail_in_block_3) {
  if (context->grid_index[0] == 3) echelon_kernel_fail(context, "block 3 does not like this");
}

ECHELON_KERNEL(throw_error) {
  throw std::runtime_error("thrown by a kernel");
}

ECHELON_KERNEL(throw_number) {
  throw 7;
}

ECHELON_KERNEL(crash) {
  volatile int* nowhere = nullptr;
  *nowhere = 1;
}

/// 1 where the user's value "mode" is "exact", and the profiling flags.
ECHELON_KERNEL(read_config) {
  const auto out = kernel::values<std::uint32_t>(args, context, 0);
  const char* mode = kernel::value_of(args, "mode");
  out[0] = mode != nullptr && std::strcmp(mode, "exact") == 0 ? 1 : 0;
  out[1] = context->profiling;
  out[2] = context->cores;
  out[3] = context->grid[0];
}
