// SPDX-License-Identifier: Apache-2.0
//
// The interpreter and its lock, as the tree's processes need them.
//
// Lock: the program's threads hold it while they are in Python. Calls of ours that may wait let go
// of it (WithoutLock); the long ones take it now and then to see whether Ctrl-C came
// (Waits::kInterruptible). In a sub-worker or next-level Worker the executor has let go of it and
// takes it for each callable (WithLock). A spawner keeps it for ever.
#pragma once

#include <chrono>
#include <memory>

#include <echelon/embedding.h>
#include <nanobind/nanobind.h>

namespace echelon::python {

namespace nb = nanobind;

// A daemon thread may want the lock when the interpreter is ending, which then ends the thread by
// unwinding it: through C++ frames that must not be unwound, so that the whole program would be
// terminated. It sleeps for ever instead; the process is about to end.

/// PyGILState_Ensure().
PyGILState_STATE take_lock() noexcept;
/// PyEval_RestoreThread().
void take_lock_back(PyThreadState* state) noexcept;

/// Has this thread keep what the interpreter knows of it when it lets go of the lock; otherwise
/// each WithLock of a thread that Python did not make allocates, maps and frees that anew. For
/// threads that come back and end with their process.
void keep_thread_state() noexcept;

/// Takes the lock, for a scope. Nests; also where the thread has it already.
class WithLock {
 public:
  WithLock() : state_(take_lock()) {}
  ~WithLock() { PyGILState_Release(state_); }
  WithLock(const WithLock&) = delete;
  WithLock& operator=(const WithLock&) = delete;

 private:
  PyGILState_STATE state_;
};

/// Whether the language's check_wait() looks at signals in a wait without the lock: not where an
/// exception cannot leave, as in a destructor.
enum class Waits : bool { kToTheirEnd, kInterruptible };

/// Lets go of the lock, for a scope. The innermost one of a thread says what its waits do.
class WithoutLock {
 public:
  explicit WithoutLock(Waits waits = Waits::kToTheirEnd);
  ~WithoutLock();
  WithoutLock(const WithoutLock&) = delete;
  WithoutLock& operator=(const WithoutLock&) = delete;

 private:
  PyThreadState* const state_;
  const Waits before_;
};

/// An object that C++ closures share with a Worker. Dropped with the lock taken; not at all once
/// the interpreter is gone, or in a process that only a spawner made. clear() is for the
/// interpreter's collector.
class HeldObject {
 public:
  explicit HeldObject(nb::object object) : object_(object.release().ptr()) {}
  ~HeldObject() { clear(); }
  HeldObject(const HeldObject&) = delete;
  HeldObject& operator=(const HeldObject&) = delete;

  PyObject* get() const { return object_; }
  void clear();

 private:
  PyObject* object_;
};

/// Python's part in a tree's life.
std::shared_ptr<const embedding::Language> make_language();

/// How long a wait lasts before a signal's Python handler (Ctrl-C) gets its turn.
constexpr std::chrono::milliseconds kWaitSlice{50};

/// Gives a signal's Python handler its turn. Throws nb::python_error for what it raises, and marks
/// that exception.
void check_signals();
/// Whether check_signals() threw this exception: what was being waited for is given up.
bool ended_a_wait(nb::handle exception);

/// Waits without the lock until `wait(deadline)` returns true, in slices. Throws nb::python_error
/// for what a signal's handler raised. False: `until` has passed.
template <class Wait>
bool wait_interruptibly(Wait&& wait, std::chrono::steady_clock::time_point until =
                                         std::chrono::steady_clock::time_point::max()) {
  using Clock = std::chrono::steady_clock;
  for (;;) {
    const Clock::time_point slice_end = Clock::now() + kWaitSlice;
    const bool last = slice_end >= until;
    bool ended = false;
    {
      const WithoutLock without;
      ended = wait(last ? until : slice_end);
    }
    if (ended) return true;
    check_signals();
    if (last) return false;
  }
}

/// sys.stdout and sys.stderr, as far as they can be. Swallows what they raise.
void flush_python_streams();

}  // namespace echelon::python
