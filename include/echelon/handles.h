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
  std::uint32_t number = 0;  // its number in that Worker's order of registration
};

}  // namespace detail

/// A function that runs in a sub-worker process: register_sub().
class SubHandle {
 public:
  SubHandle() = default;
  explicit SubHandle(detail::CallableRef ref) : ref_(ref) {}
  template <class Other>
  requires(detail::is_callable_handle<Other> && !std::is_same_v<Other, SubHandle>)
      SubHandle(const Other&) {  // NOLINT: exists to explain itself
    static_assert(!sizeof(Other), "echelon: a handle of another kind where a SubHandle belongs");
  }
  const detail::CallableRef& ref() const { return ref_; }

 private:
  detail::CallableRef ref_;
};

/// An orchestration function, run by a Worker of level 3 or more: register_orch().
class OrchHandle {
 public:
  OrchHandle() = default;
  explicit OrchHandle(detail::CallableRef ref) : ref_(ref) {}
  template <class Other>
  requires(detail::is_callable_handle<Other> && !std::is_same_v<Other, OrchHandle>)
      OrchHandle(const Other&) {  // NOLINT: exists to explain itself
    static_assert(!sizeof(Other), "echelon: a handle of another kind where an OrchHandle belongs");
  }
  const detail::CallableRef& ref() const { return ref_; }

 private:
  detail::CallableRef ref_;
};

/// A kernel that runs on a chip: register_chip().
class ChipHandle {
 public:
  ChipHandle() = default;
  explicit ChipHandle(detail::CallableRef ref) : ref_(ref) {}
  template <class Other>
  requires(detail::is_callable_handle<Other> && !std::is_same_v<Other, ChipHandle>)
      ChipHandle(const Other&) {  // NOLINT: exists to explain itself
    static_assert(!sizeof(Other), "echelon: a handle of another kind where a ChipHandle belongs");
  }
  const detail::CallableRef& ref() const { return ref_; }

 private:
  detail::CallableRef ref_;
};

/// A child of a Worker: a sub-worker, a chip or a next-level Worker. Stable for the Worker's life.
struct WorkerId {
  std::uint32_t value = 0;
  friend constexpr auto operator<=>(const WorkerId&, const WorkerId&) = default;
};

}  // namespace echelon
