// SPDX-License-Identifier: Apache-2.0
//
// A library that needs what nobody has.
#include <echelon/echelon.h>

extern "C" int no_such_function();

namespace {

ECHELON_SUB("broken", [](echelon::Task&) { return no_such_function(); });

}  // namespace
