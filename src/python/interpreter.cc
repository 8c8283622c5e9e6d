// SPDX-License-Identifier: Apache-2.0
#include "python/interpreter.h"

#include <cxxabi.h>
#include <unistd.h>

#include <utility>

#include "python/failures.h"
#include "python/shipping.h"
#include "python/stacks.h"

namespace echelon::python {
namespace {

/// What the thread let go of in enter(), for leave().
thread_local PyThreadState* let_go = nullptr;
/// Around each fork.
thread_local PyGILState_STATE forking = PyGILState_UNLOCKED;
thread_local PyThreadState* waiting = nullptr;
/// Of the innermost WithoutLock.
thread_local Waits waits_here = Waits::kToTheirEnd;

void before_fork() {
  forking = PyGILState_Ensure();
  flush_python_streams();
  PyOS_BeforeFork();
}

void after_fork_in_parent() {
  PyOS_AfterFork_Parent();
  PyGILState_Release(forking);
}

/// The lock stays taken: a spawner never runs Python again, a child lets go of it in enter().
void after_fork_in_child() {
  waits_here = Waits::kToTheirEnd;  // start() itself waits in another process
  PyOS_AfterFork_Child();
  // What was inherited is shared with the parent as long as the collector does not touch it.
  try {
    nb::module_::import_("gc").attr("freeze")();
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("gc.freeze");
  }
}

/// The program's own streams may be anything (a test's capture, a notebook's socket); a child's are
/// the pipes that its spawner reads.
void enter() {
  try {
    nb::module_::import_("echelon._src.streams").attr("use_pipes")();
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("echelon: the streams of a child");
  }
  try {
    watch_python_stack();
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("echelon: the stack of a child");
  }
  let_go = PyEval_SaveThread();
}

void leave() {
  take_lock_back(let_go);
  flush_python_streams();
}

void before_wait() {
  if (PyGILState_Check() != 0) waiting = PyEval_SaveThread();
}

void after_wait() {
  if (waiting == nullptr) return;
  take_lock_back(std::exchange(waiting, nullptr));
}

void check_wait() {
  if (PyGILState_Check() != 0) return check_signals();
  if (waits_here != Waits::kInterruptible) return;
  const WithLock lock;
  check_signals();
}

constexpr const char* kEndedAWait = "_echelon_ended_a_wait";

template <class Take>
auto take_or_sleep(Take&& take) noexcept {
  try {
    return take();
  } catch (const abi::__forced_unwind&) {
    for (;;) ::pause();
  }
}

}  // namespace

PyGILState_STATE take_lock() noexcept {
  return take_or_sleep([] { return PyGILState_Ensure(); });
}

void take_lock_back(PyThreadState* state) noexcept {
  take_or_sleep([state] { PyEval_RestoreThread(state); });
}

WithoutLock::WithoutLock(Waits waits)
    : state_(PyEval_SaveThread()), before_(std::exchange(waits_here, waits)) {}

WithoutLock::~WithoutLock() {
  waits_here = before_;
  take_lock_back(state_);
}

void keep_thread_state() noexcept {
  thread_local bool kept = false;
  // A thread that holds the lock has a state of its own that is kept: Python's main thread.
  if (std::exchange(kept, true) || PyGILState_Check() != 0) return;
  // Never released: the count of those who use the state stays above zero.
  take_lock();
  PyEval_SaveThread();
}

void check_signals() {
  if (PyErr_CheckSignals() == 0) return;
  nb::python_error raised;
  const nb::object exception = take_exception(raised);
  // One that takes no attributes counts as any other.
  if (PyObject_SetAttrString(exception.ptr(), kEndedAWait, Py_True) != 0) PyErr_Clear();
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nb::python_error();
}

bool ended_a_wait(nb::handle exception) {
  return nb::hasattr(exception, kEndedAWait);
}

void HeldObject::clear() {
  if (object_ == nullptr || Py_IsInitialized() == 0) return;
  const WithLock lock;
  Py_CLEAR(object_);
}

void flush_python_streams() {
  for (const char* name : {"stdout", "stderr"}) {
    PyObject* stream = PySys_GetObject(name);  // borrowed
    if (stream == nullptr || stream == Py_None) continue;
    PyObject* done = PyObject_CallMethod(stream, "flush", nullptr);
    if (done == nullptr) PyErr_Clear();
    Py_XDECREF(done);
  }
}

std::shared_ptr<const embedding::Language> make_language() {
  embedding::Language language;
  language.before_fork = before_fork;
  language.after_fork_in_parent = after_fork_in_parent;
  language.after_fork_in_child = after_fork_in_child;
  language.enter = enter;
  language.leave = leave;
  language.stack = python_stack;
  language.before_wait = before_wait;
  language.after_wait = after_wait;
  language.check_wait = check_wait;
  add_loaders(language);
  return std::make_shared<const embedding::Language>(std::move(language));
}

}  // namespace echelon::python
