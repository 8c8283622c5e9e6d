// SPDX-License-Identifier: Apache-2.0
//
// Threads that nobody waits for: they end by themselves, or live as long as the process. Each is
// joined when a later one is started, so that none is left behind.
#pragma once

#include <functional>

namespace echelon {

/// Threads: any. Blocking: until a thread that has ended is joined.
void run_in_background(std::function<void()> work);

}  // namespace echelon
