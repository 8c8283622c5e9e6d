// SPDX-License-Identifier: Apache-2.0
//
// What Python code gives, as C++ values: an error says what was given and what was expected.
#pragma once

#include <cstdint>
#include <string>

#include <nanobind/nanobind.h>

namespace echelon::python {

namespace nb = nanobind;

/// repr(given), for messages.
std::string shown(nb::handle given);

/// Throws TypeError, "WHAT: EXPECTED was expected, not GIVEN".
[[noreturn]] void throw_wrong_type(nb::handle given, const char* what, const char* expected);
/// Throws TypeError for an object whose __init__() never ran.
[[noreturn]] void throw_not_made(nb::handle given);

/// The C++ object of `given`, which is a T. Throws TypeError where a subclass's __init__() did not
/// call ours, or nobody called any: there is none.
template <class T>
T& made(nb::handle given) {
  if (!nb::inst_ready(given)) throw_not_made(given);
  return *nb::inst_ptr<T>(given);
}

/// The same of anything at all. Throws TypeError where it is no T.
template <class T>
T& expect(nb::handle given, const char* what, const char* expected) {
  if (!nb::isinstance<T>(given)) throw_wrong_type(given, what, expected);
  return made<T>(given);
}

/// A str as UTF-8. Throws TypeError, and ValueError for what has no UTF-8 (lone surrogates).
std::string text_from(nb::handle given, const char* what);
/// A str, bytes or os.PathLike. Throws as text_from().
std::string path_from(nb::handle given, const char* what);
/// An int, or what has __index__. Throws TypeError, and ValueError beyond 64 bits.
std::int64_t integer_from(nb::handle given, const char* what);

/// The reverse, of bytes that may come from anywhere: what is no UTF-8 is escaped.
nb::str text_object(const std::string& text);

}  // namespace echelon::python
