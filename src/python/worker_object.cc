// SPDX-License-Identifier: Apache-2.0
#include "python/worker_object.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>

#include "python/given.h"

namespace echelon::python {

// --- functions
// ---------------------------------------------------------------------------------------

std::optional<detail::CallableRef> RegisteredFunctions::find(nb::handle function,
                                                             const std::string& kind,
                                                             nb::handle name) const {
  const auto [begin, end] = entries_.equal_range({function.ptr(), kind});
  for (auto it = begin; it != end; ++it) {
    if (name.is_none() || text_from(name, "name") == it->second.name) return it->second.ref;
  }
  return std::nullopt;
}

nb::object RegisteredFunctions::count(const detail::CallableRef& ref) {
  const auto found = by_ref_.find(key_of(ref));
  if (found == by_ref_.end()) return nb::none();
  Entry& entry = found->second->second;
  ++entry.times;
  return entry.handle;
}

std::string RegisteredFunctions::name_for(nb::handle function, const std::string& kind,
                                          nb::handle name) const {
  if (!name.is_none()) return text_from(name, "name");
  const nb::object own = nb::getattr(function, "__qualname__", nb::none());
  const std::string base = nb::isinstance<nb::str>(own)
                               ? text_from(own, "__qualname__")
                               : std::string(nb::type_name(function.type()).c_str());
  // Counted from what there is, so that ten thousand lambdas are named in no time.
  std::size_t number = names_.count({kind, base});
  if (number == 0) return base;
  std::string unique;
  do {
    unique = fmt::format("{}#{}", base, ++number);
  } while (names_.contains({kind, unique}));
  return unique;
}

void RegisteredFunctions::add(nb::handle function, const std::string& kind, std::string name,
                              nb::object handle, const detail::CallableRef& ref) {
  names_.emplace(kind, name);
  if (const std::size_t mark = name.rfind('#'); mark != std::string::npos) {
    names_.emplace(kind, name.substr(0, mark));
  }
  const auto at =
      entries_.emplace(Key{function.ptr(), kind},
                       Entry{nb::borrow(function), std::move(handle), std::move(name), ref, 1});
  by_ref_.emplace(key_of(ref), at);
}

bool RegisteredFunctions::drop(const detail::CallableRef& ref) {
  const auto found = by_ref_.find(key_of(ref));
  if (found == by_ref_.end()) return true;
  if (--found->second->second.times > 0) return false;
  forget(ref);
  return true;
}

void RegisteredFunctions::forget(const detail::CallableRef& ref) {
  const auto found = by_ref_.find(key_of(ref));
  if (found == by_ref_.end()) return;
  const auto it = found->second;
  const auto forget_name = [&](const std::string& name) {
    const auto at = names_.find({it->first.second, name});
    if (at != names_.end()) names_.erase(at);
  };
  const std::string& name = it->second.name;
  forget_name(name);
  if (const std::size_t mark = name.rfind('#'); mark != std::string::npos) {
    forget_name(name.substr(0, mark));
  }
  const Entry last = std::move(it->second);  // dropped when the maps are whole again
  by_ref_.erase(found);
  entries_.erase(it);
}

int RegisteredFunctions::traverse(visitproc visit, void* arg) const {
  for (const auto& [key, entry] : entries_) {
    Py_VISIT(entry.function.ptr());
    Py_VISIT(entry.handle.ptr());
  }
  return 0;
}

void RegisteredFunctions::clear() {
  by_ref_.clear();
  names_.clear();
  const auto gone = std::exchange(entries_, {});
}

// --- the Worker
// --------------------------------------------------------------------------------------

PyWorker::~PyWorker() {
  // Its close() waits for children, and its callables take the lock to be dropped.
  const WithoutLock without;
  const Worker gone(std::move(worker_));
}

void PyWorker::start() {
  const WithoutLock without(Waits::kInterruptible);
  worker_.start();
}

void PyWorker::close() {
  const WithoutLock without;
  worker_.close();
}

void PyWorker::ensure_started(nb::handle_t<PyWorker> self) {
  Worker& worker = made<PyWorker>(self).get();
  if (worker.started()) return;
  {
    const WithoutLock without(Waits::kInterruptible);
    worker.submit([](Orchestrator&) {}).wait();
  }
  nb::module_::import_("echelon._src.lifetime").attr("close_at_exit")(self);
}

bool PyWorker::ships() const {
  return worker_.in_running_tree();
}

bool PyWorker::is_registered(const detail::CallableRef& ref) const {
  if (ref.serial == 0) return true;
  const WithoutLock without;
  return worker_.is_registered(ref);
}

nb::object PyWorker::count_again(nb::handle function, const std::string& kind, nb::handle name) {
  while (const auto ref = functions_.find(function, kind, name)) {
    if (is_registered(*ref)) {
      nb::object handle = functions_.count(*ref);
      if (!handle.is_none()) return handle;
    } else {
      functions_.forget(*ref);
    }
  }
  return nb::none();
}

std::shared_ptr<HeldObject> PyWorker::hold(nb::handle function) {
  return held_.emplace_back(std::make_shared<HeldObject>(nb::borrow(function)));
}

int PyWorker::traverse(visitproc visit, void* arg) const {
  for (const auto& held : held_) Py_VISIT(held->get());
  return functions_.traverse(visit, arg);
}

void PyWorker::clear() {
  for (const auto& held : held_) held->clear();
  functions_.clear();
}

}  // namespace echelon::python
