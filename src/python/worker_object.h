// SPDX-License-Identifier: Apache-2.0
//
// What stands behind ec.Worker.
//
// Lock: all of it is guarded by the interpreter's. Calls into the Worker that take its own mutex
// are made without it, as another thread may hold that mutex while it forks and wants the lock. A
// run is begun with the lock held: that of a started Worker takes no mutex that is kept, and one
// that has to start it lets go of the lock first (Language::before_wait).
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <echelon/run.h>
#include <echelon/worker.h>
#include <nanobind/nanobind.h>

#include "python/interpreter.h"
#include "python/parked.h"

namespace echelon::python {

/// What a Worker's Python functions are registered as. The same function object is the same thing:
/// registered again it is counted, and its handle given once more.
class RegisteredFunctions {
 public:
  /// What it is registered as, if it is.
  std::optional<detail::CallableRef> find(nb::handle function, const std::string& kind,
                                          nb::handle name) const;
  /// Its handle, registered once more; None: it was dropped meanwhile.
  nb::object count(const detail::CallableRef& ref);
  /// The name that was given, or the function's own, made unique.
  std::string name_for(nb::handle function, const std::string& kind, nb::handle name) const;
  /// Keeps function and handle, which is of `ref`.
  void add(nb::handle function, const std::string& kind, std::string name, nb::object handle,
           const detail::CallableRef& ref);
  /// One registration less. True: it was the last, and is forgotten, or it is not known.
  bool drop(const detail::CallableRef& ref);
  /// All of its registrations.
  void forget(const detail::CallableRef& ref);

  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  struct Entry {
    nb::object function;
    nb::object handle;
    std::string name;
    detail::CallableRef ref;
    std::size_t times = 1;
  };
  using Key = std::pair<PyObject*, std::string>;  // the function, its kind
  using Entries = std::multimap<Key, Entry>;
  using RefKey = std::tuple<std::uint64_t, std::uint32_t, std::uint64_t>;
  static RefKey key_of(const detail::CallableRef& ref) {
    return {ref.owner, ref.number, ref.serial};
  }

  Entries entries_;
  std::multimap<RefKey, Entries::iterator> by_ref_;
  std::multiset<std::pair<std::string, std::string>> names_;  // kind, name
};

class PyWorker {
 public:
  explicit PyWorker(WorkerOptions options) : worker_(std::move(options)) {}
  ~PyWorker();
  PyWorker(const PyWorker&) = delete;
  PyWorker& operator=(const PyWorker&) = delete;

  Worker& get() { return worker_; }
  void start();
  void close();
  /// Starts the tree of `self` unless it runs, to be closed when the program ends at the latest.
  /// Throws as Worker::start(); WrongState after close().
  static void ensure_started(nb::handle_t<PyWorker> self);
  /// Whether callables are shipped, as the tree that it is in runs.
  bool ships() const;

  RegisteredFunctions& functions() { return functions_; }
  /// The function's handle, registered once more; None: it is new here, or new since the tree that
  /// it was shipped to has ended.
  nb::object count_again(nb::handle function, const std::string& kind, nb::handle name);
  /// Whether the handle names something now: inherited, or shipped to the tree that runs.
  bool is_registered(const detail::CallableRef& ref) const;
  /// Holds what copies use.
  const std::shared_ptr<Parking>& parking() const { return parking_; }
  /// For C++ closures; shared with this object as long as it lives.
  std::shared_ptr<HeldObject> hold(nb::handle function);

  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  const std::shared_ptr<Parking> parking_ = std::make_shared<Parking>();
  Worker worker_;
  std::vector<std::shared_ptr<HeldObject>> held_;
  RegisteredFunctions functions_;
};

}  // namespace echelon::python
