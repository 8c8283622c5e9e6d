// SPDX-License-Identifier: Apache-2.0
//
// A driver of another version than the runtime's. Also shows that the ABI is C99.
#include <echelon/chip_driver.h>

static const echelon_chip_driver_v1 table = {.abi_version = 7, .struct_size = 8, .name = "skewed"};

__attribute__((visibility("default"))) const echelon_chip_driver_v1* echelon_chip_driver_get(
    uint32_t abi_version) {
  (void)abi_version;
  return &table;
}
