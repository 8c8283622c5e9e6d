// SPDX-License-Identifier: Apache-2.0
//
// For the authors of language bindings (Echelon's own for Python is one): what a language with a
// runtime of its own must be told of, and asked for, by a tree whose processes are forked.
// Programs in C++ need none of this.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/callable_form.h>
#include <echelon/export.h>
#include <echelon/handles.h>
#include <echelon/orchestrator.h>
#include <echelon/task.h>

namespace echelon {

class Worker;

/// For the authors of language bindings.
namespace embedding {

/// What a child is asked to make a callable from. Views are valid during the call.
struct Shipment {
  /// How `payload` is to be read.
  Form form = Form::kName;
  std::string_view name;  // as registered
  /// What the callable is made from; its form is the sender's and the loader's own.
  std::span<const std::byte> payload;
  /// Whether the user chose the name: only then must it be the only one of its kind in its Worker.
  bool name_given = true;
  /// To a loader: `payload` is a file of this machine that was sealed as soon as it was written, so
  /// that nobody can have changed it since. A digest of its own need not be taken again.
  bool sealed = false;
};

/// A language's part in the life of a tree. Given in WorkerOptions::language of the Worker that is
/// started; all of the tree's forked processes have it. Must be immutable once a Worker has it.
///
/// Threads: fork hooks and enter() are called on the forking thread; load_* on a thread of the
/// child's that may block without harm. Errors: load_* throws; its message becomes the child's
/// answer to whoever registers.
struct Language {
  /// Around each fork: in the process that forks (the program, once; then each spawner), before and
  /// after, and in the child. Called in this order, never nested. May be empty.
  std::function<void()> before_fork;
  /// See before_fork: afterwards, in the process that forked.
  std::function<void()> after_fork_in_parent;
  /// See before_fork: in the new process, before anything else of the language runs there.
  std::function<void()> after_fork_in_child;
  /// In a sub-worker or a next-level Worker, on its main thread, before it serves and after.
  std::function<void()> enter;
  /// See enter: once it serves no more.
  std::function<void()> leave;
  /// The language's own stack of the thread that called enter(), as text, for errors of a task that
  /// is stuck. Called on another thread; must not wait for what the stuck one may hold, and return
  /// within 100 ms. Empty text: it is not in the language's code, or does not answer.
  std::function<std::string()> stack;
  /// Around a wait inside a call that seldom waits (Orchestrator::submit(), alloc(), Scope::wait(),
  /// the first run of a Worker), on the caller's thread; also where it is not in the language's
  /// code. May be empty.
  std::function<void()> before_wait;
  /// See before_wait: afterwards.
  std::function<void()> after_wait;
  /// Now and then in such a wait, outside of before_wait and after_wait, and in start() and
  /// register_*(), which are not announced: what it throws ends the wait and leaves the call, which
  /// has then done nothing, or has taken back what it did. May be empty.
  std::function<void()> check_wait;
  /// Make kImportPath and kPickle callables. Empty: such a registration is refused.
  std::function<std::function<void(Task&)>(const Shipment&)> load_sub;
  /// The same for orchestration functions.
  std::function<std::function<void(Orchestrator&, TaskArgs&)>(const Shipment&)> load_orch;
};

/// What a function that children inherit is made from on another host, where nothing is inherited.
struct Packed {
  /// kPickle or kImportPath.
  Form form = Form::kPickle;
  /// As in a Shipment.
  std::vector<std::byte> payload;
};
/// Makes it. Called when a Worker on another host is started that the function is visible to, in
/// the process of the Worker above that one. What it throws is what a task of this function says on
/// the other host.
using Pack = std::function<Packed()>;

/// A function that is registered before start().
struct Inherited {
  /// Unique in its Worker.
  std::string_view name;
  /// What children inherit: one of the two.
  std::function<void(Task&)> sub;
  /// The other of the two.
  std::function<void(Orchestrator&, TaskArgs&)> orch;
  /// Empty: it cannot run on another host.
  Pack pack;
};

/// Worker::register_sub() of a function that has a form for other hosts, too. Before start() only.
ECHELON_API SubHandle inherit_sub(Worker& worker, Inherited function);
/// The same for an orchestration function.
ECHELON_API OrchHandle inherit_orch(Worker& worker, Inherited function);

/// Registers, on a started Worker, a function that its children make from `shipment` (kImportPath
/// or kPickle); returns when all of the subtree that may need it have. Throws RegistrationFailed
/// with one answer a child, InvalidArgument, WrongState.
ECHELON_API SubHandle ship_sub(Worker& worker, const Shipment& shipment,
                               std::chrono::milliseconds timeout);
/// The same for an orchestration function.
ECHELON_API OrchHandle ship_orch(Worker& worker, const Shipment& shipment,
                                 std::chrono::milliseconds timeout);

/// The program of a language in which a daemon's sessions run. Waits until this process is to be a
/// session, is it, and ends the process. `arguments`: what the daemon put on its command line. On
/// the main thread, which is the only one and holds the language's lock, as after
/// Language::after_fork_in_child. Throws InvalidArgument where no daemon started this process,
/// Error for what it cannot read.
[[noreturn]] ECHELON_API void run_session(const std::vector<std::string>& arguments,
                                          std::shared_ptr<const Language> language);

}  // namespace embedding
}  // namespace echelon
