// SPDX-License-Identifier: Apache-2.0
//
// A kernel in C99.
#include <echelon/chip_kernel.h>

ECHELON_KERNEL(fill_seven) {
  float* out = (float*)args->tensors[0].data;
  if (args->tensors[0].dtype != ECHELON_FLOAT32) {
    echelon_kernel_fail(context, "not float32");
    return;
  }
  for (int64_t i = 0; i < args->tensors[0].extent[0]; ++i) out[i] = 7;
}
