// SPDX-License-Identifier: Apache-2.0
//
// A handle of kind GIVEN where one of kind WANTED belongs.
#include <echelon/handles.h>

void wants(echelon::WANTED handle);

void gives(echelon::GIVEN handle) {
  wants(handle);
}
