// SPDX-License-Identifier: Apache-2.0
#include "python/refusals.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <utility>

#include "python/failures.h"
#include "python/given.h"

namespace echelon::python {
namespace {

/// Above the number of arguments are flags, of nanobind's own, too.
constexpr std::size_t kCountMask = 0xffff'ffff;

/// A function of nanobind's holds the C function that calls it; there are a few of these.
constexpr std::size_t kCallersMax = 8;
std::array<vectorcallfunc, kCallersMax> callers{};

vectorcallfunc& caller_of(nb::handle function) {
  const Py_ssize_t offset = Py_TYPE(function.ptr())->tp_vectorcall_offset;
  return *reinterpret_cast<vectorcallfunc*>(reinterpret_cast<char*>(function.ptr()) + offset);
}

bool is_nanobinds(nb::handle raised) {
  const nb::object text = nb::steal(PyObject_Str(raised.ptr()));
  const char* const utf8 = text.is_valid() ? PyUnicode_AsUTF8(text.ptr()) : nullptr;
  if (utf8 == nullptr) PyErr_Clear();
  return utf8 != nullptr && std::strstr(utf8, "(): incompatible function arguments.") != nullptr;
}

/// The same error in our words.
nb::object explained(nb::handle function, PyObject* const* args, std::size_t count,
                     PyObject* names) {
  if (count > 0 && nb::inst_check(args[0]) && !nb::inst_ready(args[0]) &&
      !function.attr("__name__").equal(nb::str("__init__"))) {
    throw_not_made(args[0]);
  }
  nb::list given;
  for (std::size_t i = 0; i < count; ++i) given.append(nb::borrow(args[i]));
  nb::dict named;
  const std::size_t named_count = names == nullptr ? 0 : nb::len(nb::handle(names));
  for (std::size_t i = 0; i < named_count; ++i) {
    named[nb::handle(PyTuple_GET_ITEM(names, static_cast<Py_ssize_t>(i)))] =
        nb::borrow(args[count + i]);
  }
  return nb::module_::import_("echelon._src.refusals").attr("explain")(function, given, named);
}

void explain(nb::handle function, PyObject* const* args, std::size_t flagged, PyObject* names) {
  nb::python_error raised;
  const nb::object original = take_exception(raised);
  if (!is_nanobinds(original)) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(original.ptr())), original.ptr());
    return;
  }
  const std::size_t count = flagged & kCountMask;
  try {
    const nb::object better = explained(function, args, count, names);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(better.ptr())), better.ptr());
  } catch (nb::python_error& error) {  // what a __repr__ raises
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  }
}

template <std::size_t kCaller>
PyObject* call(PyObject* function, PyObject* const* args, std::size_t flagged, PyObject* names) {
  PyObject* const result = callers[kCaller](function, args, flagged, names);
  if (result == nullptr && PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
    explain(function, args, flagged, names);
  }
  return result;
}

template <std::size_t... kCaller>
constexpr auto make_calls(std::index_sequence<kCaller...>) {
  return std::array<vectorcallfunc, kCallersMax>{call<kCaller>...};
}
constexpr auto kCalls = make_calls(std::make_index_sequence<kCallersMax>());

/// What is none of nanobind's functions stays as it is.
void wrap(nb::handle function) {
  if (!nb::hasattr(function, "__nb_signature__")) return;
  vectorcallfunc& caller = caller_of(function);
  if (std::find(kCalls.begin(), kCalls.end(), caller) != kCalls.end()) return;
  const auto known = std::find(callers.begin(), callers.end(), caller);
  const auto place = known != callers.end()
                         ? known
                         : std::find(callers.begin(), callers.end(), vectorcallfunc{nullptr});
  if (place == callers.end()) return;  // a kind that does not exist yet keeps nanobind's words
  *place = caller;
  caller = kCalls[static_cast<std::size_t>(place - callers.begin())];
}

void wrap_members(nb::handle type) {
  for (const auto item : nb::list(type.attr("__dict__").attr("values")())) {
    wrap(item);
    for (const char* part : {"fget", "fset"}) {
      const nb::object accessor = nb::getattr(item, part, nb::none());
      if (!accessor.is_none()) wrap(accessor);
    }
  }
}

}  // namespace

void explain_refusals(nb::module_& module) {
  for (const auto item : nb::list(module.attr("__dict__").attr("values")())) {
    if (PyType_Check(item.ptr())) {
      wrap_members(item);
    } else {
      wrap(item);
    }
  }
}

}  // namespace echelon::python
