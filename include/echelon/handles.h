// SPDX-License-Identifier: Apache-2.0
//
// Handles of registered callables: three kinds, three types, never converted into each other.
#pragma once

#include <compare>
#include <cstdint>
#include <type_traits>

namespace echelon {

class SubHandle;
class OrchHandle;
class ChipHandle;

namespace detail {

template <class T>
inline constexpr bool is_callable_handle =
    std::is_same_v<T, SubHandle> || std::is_same_v<T, OrchHandle> || std::is_same_v<T, ChipHandle>;

/// What a handle is made of: who registered it, and its number there. A plain value: copied into
/// closures and inherited by children, it stays valid in the whole subtree of that Worker (C7).
struct CallableRef {
  std::uint64_t owner = 0;   // identity of the Worker that registered it; 0: no callable
  std::uint32_t number = 0;  // its number in that Worker's order of registration; late: its slot
  std::uint64_t serial = 0;  // 0: registered before start(); else never the same again in a tree
};

}  // namespace detail

/// A function that runs in a sub-worker process: register_sub().
class SubHandle {
 public:
  /// Of no callable: submit() refuses it. Worker::register_sub() makes the others.
  SubHandle() = default;
  /// The library's own.
  explicit SubHandle(detail::CallableRef ref) : ref_(ref) {}
  /// A handle of another kind does not compile, and the compiler says why.
  template <class Other>
  requires(detail::is_callable_handle<Other> && !std::is_same_v<Other, SubHandle>)
      SubHandle(const Other&) {  // NOLINT: exists to explain itself
    static_assert(!sizeof(Other), "echelon: a handle of another kind where a SubHandle belongs");
  }
  /// The library's own.
  const detail::CallableRef& ref() const { return ref_; }

 private:
  detail::CallableRef ref_;
};

/// An orchestration function, run by a Worker of level 3 or more: register_orch().
class OrchHandle {
 public:
  /// Of no callable: submit() refuses it. Worker::register_orch() makes the others.
  OrchHandle() = default;
  /// The library's own.
  explicit OrchHandle(detail::CallableRef ref) : ref_(ref) {}
  /// A handle of another kind does not compile, and the compiler says why.
  template <class Other>
  requires(detail::is_callable_handle<Other> && !std::is_same_v<Other, OrchHandle>)
      OrchHandle(const Other&) {  // NOLINT: exists to explain itself
    static_assert(!sizeof(Other), "echelon: a handle of another kind where an OrchHandle belongs");
  }
  /// The library's own.
  const detail::CallableRef& ref() const { return ref_; }

 private:
  detail::CallableRef ref_;
};

/// A kernel that runs on a chip: register_chip().
class ChipHandle {
 public:
  /// Of no callable: submit() refuses it. Worker::register_chip() makes the others.
  ChipHandle() = default;
  /// The library's own.
  explicit ChipHandle(detail::CallableRef ref) : ref_(ref) {}
  /// A handle of another kind does not compile, and the compiler says why.
  template <class Other>
  requires(detail::is_callable_handle<Other> && !std::is_same_v<Other, ChipHandle>)
      ChipHandle(const Other&) {  // NOLINT: exists to explain itself
    static_assert(!sizeof(Other), "echelon: a handle of another kind where a ChipHandle belongs");
  }
  /// The library's own.
  const detail::CallableRef& ref() const { return ref_; }

 private:
  detail::CallableRef ref_;
};

/// A shared object whose functions can be registered by name: register_library().
class LibraryHandle {
 public:
  /// Of no library.
  LibraryHandle() = default;
  /// The library's own.
  explicit LibraryHandle(detail::CallableRef ref) : ref_(ref) {}
  /// The library's own.
  const detail::CallableRef& ref() const { return ref_; }

 private:
  detail::CallableRef ref_;
};

/// A child of a Worker: a sub-worker, a chip or a next-level Worker. Stable for the Worker's life.
struct WorkerId {
  /// Its number among all children of that Worker, from 0: sub-workers, then chips, then Workers.
  std::uint32_t value = 0;
  /// By number: comparable among the children of one Worker.
  friend constexpr auto operator<=>(const WorkerId&, const WorkerId&) = default;
};

}  // namespace echelon
