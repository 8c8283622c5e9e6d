// SPDX-License-Identifier: Apache-2.0
//
// Kernels of the trees in these tests.
#include <echelon/chip_kernel.h>

#include <csignal>
#include <cstdlib>

namespace {

bool is_first_block(const echelon_kernel_context* context) {
  return context->grid_index[0] == 0 && context->grid_index[1] == 0 && context->grid_index[2] == 0;
}

}  // namespace

// y = factor * x
ECHELON_KERNEL(scale) {
  const auto x = echelon::kernel::values<const float>(args, context, 0);
  const auto y = echelon::kernel::values<float>(args, context, 1);
  const float factor = echelon::kernel::scalar<float>(args, context, 0);
  for (std::size_t i = context->grid_index[0]; i < x.size(); i += context->grid[0])
    y[i] = factor * x[i];
}

// What it was launched with: grid x, y, z, cores, profiling, and the number that "key" holds.
ECHELON_KERNEL(report_launch) {
  const auto out = echelon::kernel::values<std::int64_t>(args, context, 0);
  if (!is_first_block(context)) return;
  for (unsigned i = 0; i < 3; ++i) out[i] = context->grid[i];
  out[3] = context->cores;
  out[4] = context->profiling;
  const char* value = echelon::kernel::value_of(args, "key");
  out[5] = value != nullptr ? std::strtoll(value, nullptr, 10) : -1;
}

ECHELON_KERNEL(fail) {
  echelon::kernel::fail(context, "the kernel gives up");
}

ECHELON_KERNEL(crash) {
  ::raise(SIGKILL);
}
