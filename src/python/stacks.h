// SPDX-License-Identifier: Apache-2.0
//
// The Python frames of a child's main thread, for errors of a task that is stuck: taken from
// another thread, without the interpreter's lock. faulthandler's handler of a signal of ours writes
// them, on the main thread itself, wherever it is.
#pragma once

#include <string>

namespace echelon::python {

/// Prepares the calling thread, which has the interpreter's lock. Raises what faulthandler raises.
void watch_python_stack();

/// Its frames, most recent call first; waits up to 50 ms. Where it does not answer, this says so;
/// empty where it is not in Python.
std::string python_stack();

}  // namespace echelon::python
