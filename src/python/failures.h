// SPDX-License-Identifier: Apache-2.0
//
// Errors across the border: echelon::Error becomes an exception of echelon.Error's family; what a
// Python callable raises becomes an ErrorInfo with its traceback as text.
#pragma once

#include <echelon/error.h>
#include <nanobind/nanobind.h>

namespace echelon::python {

namespace nb = nanobind;

/// The exception object, with its traceback on it. `raised` is empty afterwards.
nb::object take_exception(nb::python_error& raised);

/// Throws echelon::Error for the exception that a callable raised. One of ours keeps its
/// ErrorInfo. REQUIRES: the interpreter's lock.
[[noreturn]] void throw_for_cpp(nb::handle exception);
[[noreturn]] inline void throw_for_cpp(nb::python_error& raised) {
  throw_for_cpp(take_exception(raised));
}

/// For what was raised when a task's result was unpickled: raises TaskFailed with it as the cause.
/// Ctrl-C stays what it is. REQUIRES: the interpreter's lock.
[[noreturn]] void raise_unreadable(nb::python_error& raised);

/// Throws InvalidArgument with this message.
[[noreturn]] void throw_invalid(std::string message);
/// Throws WrongState with this message.
[[noreturn]] void throw_wrong_state(std::string message);

void bind_failures(nb::module_& module);

}  // namespace echelon::python
