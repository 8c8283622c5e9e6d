// SPDX-License-Identifier: Apache-2.0
#include "python/shipping.h"

#include <string>

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

}  // namespace

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
