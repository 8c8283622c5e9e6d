// SPDX-License-Identifier: Apache-2.0
#include "python/shipping.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "python/callables.h"
#include "python/failures.h"
#include "python/interpreter.h"

namespace echelon::python {
namespace {

/// A function of echelon._src.shipping, for ever.
nb::handle loader(const char* name) {
  return nb::object(nb::module_::import_("echelon._src.shipping").attr(name)).release();
}

/// The function of a shipment; echelon._src.shipping checks and unpickles, or imports.
std::shared_ptr<HeldObject> load(const embedding::Shipment& shipment) {
  static const nb::handle load_pickle = loader("load_pickle");
  static const nb::handle load_path = loader("load_path");
  const bool pickled = shipment.form == embedding::Form::kPickle;
  // Not a copy: what is made of it copies what it needs.
  const nb::object payload = nb::steal(PyMemoryView_FromMemory(
      const_cast<char*>(reinterpret_cast<const char*>(shipment.payload.data())),
      static_cast<Py_ssize_t>(shipment.payload.size()), PyBUF_READ));
  if (!payload.is_valid()) throw nb::python_error();
  const nb::str name(shipment.name.data(), shipment.name.size());
  nb::object function =
      pickled ? load_pickle(name, payload, nb::bool_(shipment.sealed)) : load_path(name, payload);
  return std::make_shared<HeldObject>(std::move(function));
}

embedding::Packed pickled(const HeldObject& function, const std::string& name) {
  static const nb::handle pickle_function = loader("pickle_function");
  // Handles that were registered before start() are the same on the other host.
  const nb::object any = nb::cpp_function([](nb::handle) { return true; });
  const nb::object sealed = pickle_function(nb::handle(function.get()), name, any);
  Py_buffer buffer;
  if (PyObject_GetBuffer(sealed.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw nb::python_error();
  const std::unique_ptr<Py_buffer, void (*)(Py_buffer*)> release(&buffer, PyBuffer_Release);
  const auto* const bytes = static_cast<const std::byte*>(buffer.buf);
  return {embedding::Form::kPickle, {bytes, bytes + buffer.len}};
}

void run_session(const std::vector<std::string>& arguments) {
  embedding::run_session(arguments, make_language());
}

}  // namespace

embedding::Pack packer(std::shared_ptr<HeldObject> function, std::string name, std::string path) {
  return [function = std::move(function), name = std::move(name),
          path = std::move(path)]() -> embedding::Packed {
    if (!path.empty()) {
      const auto* const bytes = reinterpret_cast<const std::byte*>(path.data());
      return {embedding::Form::kImportPath, {bytes, bytes + path.size()}};
    }
    const WithLock lock;
    try {
      return pickled(*function, name);
    } catch (nb::python_error& error) {
      throw_for_cpp(error);
    }
  };
}

void bind_runner(nb::module_& module) {
  module.def("_run_session", run_session, nb::arg("arguments"),
             nb::sig("def _run_session(arguments: list[str]) -> None"),
             "What echelon._src.runner does. Does not return.");
}

void add_loaders(embedding::Language& language) {
  language.load_sub = [](const embedding::Shipment& shipment) -> std::function<void(Task&)> {
    keep_thread_state();
    const WithLock lock;
    try {
      return as_sub(load(shipment));
    } catch (nb::python_error& error) {
      throw_for_cpp(error);
    }
  };
  language.load_orch =
      [](const embedding::Shipment& shipment) -> std::function<void(Orchestrator&, TaskArgs&)> {
    keep_thread_state();
    const WithLock lock;
    try {
      return as_orch(load(shipment));
    } catch (nb::python_error& error) {
      throw_for_cpp(error);
    }
  };
}

}  // namespace echelon::python
