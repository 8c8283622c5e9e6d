// SPDX-License-Identifier: Apache-2.0
#include "python/given.h"

#include <fmt/format.h>

namespace echelon::python {

std::string shown(nb::handle given) {
  nb::object text = nb::steal(PyObject_Repr(given.ptr()));
  if (!text.is_valid()) throw nb::python_error();
  const char* utf8 = PyUnicode_AsUTF8(text.ptr());
  if (utf8 == nullptr) {  // a class's own __repr__ may return anything
    PyErr_Clear();
    text = nb::steal(PyObject_ASCII(text.ptr()));
    utf8 = PyUnicode_AsUTF8(text.ptr());
  }
  return utf8;
}

void throw_wrong_type(nb::handle given, const char* what, const char* expected) {
  throw nb::type_error(
      fmt::format("{}: {} was expected, not {}", what, expected, shown(given)).c_str());
}

void throw_not_made(nb::handle given) {
  throw nb::type_error(
      fmt::format("this {} was never initialized; a subclass calls super().__init__() first",
                  nb::type_name(given.type()).c_str())
          .c_str());
}

std::string text_from(nb::handle given, const char* what) {
  if (!nb::isinstance<nb::str>(given)) throw_wrong_type(given, what, "a str");
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(given.ptr(), &size);
  if (text == nullptr) {
    PyErr_Clear();
    throw nb::value_error(
        fmt::format("{}: {} holds half of a surrogate pair, which is no text", what, shown(given))
            .c_str());
  }
  return {text, static_cast<std::size_t>(size)};
}

std::string path_from(nb::handle given, const char* what) {
  PyObject* const path = PyOS_FSPath(given.ptr());
  if (path == nullptr) {
    PyErr_Clear();
    throw_wrong_type(given, what, "a str or an os.PathLike");
  }
  const nb::object found = nb::steal(path);
  return text_from(nb::module_::import_("os").attr("fsdecode")(found), what);
}

std::int64_t integer_from(nb::handle given, const char* what) {
  if (PyIndex_Check(given.ptr()) == 0) throw_wrong_type(given, what, "an int");
  const nb::object number = nb::steal(PyNumber_Index(given.ptr()));
  if (!number.is_valid()) throw nb::python_error();
  int beyond = 0;
  const std::int64_t value = PyLong_AsLongLongAndOverflow(number.ptr(), &beyond);
  if (beyond != 0) {
    throw nb::value_error(fmt::format("{}: {} is beyond 64 bits", what, shown(number)).c_str());
  }
  return value;
}

nb::str text_object(const std::string& text) {
  PyObject* const made =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace");
  if (made == nullptr) throw nb::python_error();
  return nb::steal<nb::str>(made);
}

}  // namespace echelon::python
