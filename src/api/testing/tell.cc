// SPDX-License-Identifier: Apache-2.0
//
// A library of one function, which finds the process's own Echelon, as tests link the layers.
#include "api/testing/tell.h"

#include <echelon/callable.h>

namespace {

ECHELON_SUB("api test tell", [](echelon::Task&) { return echelon::api_test::kTold; });

}  // namespace
