// SPDX-License-Identifier: Apache-2.0
//
// Functions with names, so that they can be registered in a running tree: every process of the tree
// finds them by the name alone, in the program itself or in a library that was shipped to it.
//
//   ECHELON_SUB("scale", [](echelon::Task& task) { ... });       // at namespace scope
//   ...
//   auto scale = host.register_sub("scale");                     // any time, also after start()
//
// The function is made once, before main() (in a library: when it is loaded). It must not capture:
// what it refers to are globals, which each process has its own of.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include <echelon/export.h>
#include <echelon/orchestrator.h>
#include <echelon/task.h>

namespace echelon::detail {

/// Calls `fn`, and makes what it returns the task's result.
template <class Args, class Fn, class... Given>
void call(Args& args, Fn& fn, Given&... given) {
  using R = std::invoke_result_t<Fn&, Given&...>;
  if constexpr (std::is_void_v<R>)
    fn(given...);
  else
    args.set_result(fn(given...));
}

template <class Fn>
void call_orch(Orchestrator& orch, TaskArgs& args, Fn& fn) {
  if constexpr (std::is_invocable_v<Fn&, Orchestrator&>)
    call(args, fn, orch);
  else if constexpr (std::is_invocable_v<Fn&, Orchestrator&, TaskArgs&>)
    call(args, fn, orch, args);
  else
    call(args, fn, orch, args, args.config());
}

using SubFunction = std::function<void(Task&)>;
using OrchFunction = std::function<void(Orchestrator&, TaskArgs&)>;

/// What ECHELON_SUB and ECHELON_ORCH make: known by its name as long as it lives.
class ECHELON_API NamedCallable {
 public:
  NamedCallable(const char* name, SubFunction fn);
  NamedCallable(const char* name, OrchFunction fn);
  ~NamedCallable();
  NamedCallable(const NamedCallable&) = delete;
  NamedCallable& operator=(const NamedCallable&) = delete;

  template <class Fn>
  static SubFunction sub(Fn fn) {
    return [fn = std::move(fn)](Task& task) mutable { call(task, fn, task); };
  }
  template <class Fn>
  static OrchFunction orch(Fn fn) {
    return [fn = std::move(fn)](Orchestrator& orchestrator, TaskArgs& args) mutable {
      call_orch(orchestrator, args, fn);
    };
  }
};

}  // namespace echelon::detail

/// The library's own.
#define ECHELON_JOIN_(a, b) a##b
/// The library's own.
#define ECHELON_JOIN(a, b) ECHELON_JOIN_(a, b)

/// ECHELON_SUB("name", fn): a sub function, `void or T fn(Task&)`.
#define ECHELON_SUB(name, ...)                                                          \
  static const ::echelon::detail::NamedCallable ECHELON_JOIN(echelon_named_, __LINE__)( \
      name, ::echelon::detail::NamedCallable::sub(__VA_ARGS__))
/// ECHELON_ORCH("name", fn): an orchestration function, as for Worker::register_orch().
#define ECHELON_ORCH(name, ...)                                                         \
  static const ::echelon::detail::NamedCallable ECHELON_JOIN(echelon_named_, __LINE__)( \
      name, ::echelon::detail::NamedCallable::orch(__VA_ARGS__))
