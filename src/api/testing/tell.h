// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace echelon::api_test {

/// What "api test tell" of testing/tell.cc returns.
inline constexpr int kTold = 1234;

}  // namespace echelon::api_test
