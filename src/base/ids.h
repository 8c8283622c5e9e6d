// SPDX-License-Identifier: Apache-2.0
//
// Strong identifiers: a TaskId is never taken for a RunId.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace echelon {

template <class Tag, class Rep>
struct StrongId {
  using rep = Rep;
  Rep value{};
  friend constexpr auto operator<=>(const StrongId&, const StrongId&) = default;
  explicit constexpr operator bool() const { return value != Rep{}; }
};

/// 64 random bits for each incarnation of a Worker or leaf. Paths are for people; uids are
/// compared.
using Uid = StrongId<struct UidTag, std::uint64_t>;

/// A task of one engine: table index in the low half, generation (never 0) in the high half.
using TaskId = StrongId<struct TaskIdTag, std::uint64_t>;

/// A run of one engine, laid out like TaskId.
using RunId = StrongId<struct RunIdTag, std::uint64_t>;

/// A child's position among its parent's children: stable for the parent's life, also after death.
using ChildIndex = StrongId<struct ChildIndexTag, std::uint32_t>;

/// A callable's number in task frames. 0 is no callable.
using CallableSlot = StrongId<struct CallableSlotTag, std::uint32_t>;

/// Slots from here on are those of callables registered in a running tree: one numbering for the
/// whole tree, handed out by its root. Below, each Worker has its own (api/callables.h).
inline constexpr std::uint32_t kFirstLateSlot = std::uint32_t{1} << 31;
constexpr bool is_late(CallableSlot slot) {
  return slot.value >= kFirstLateSlot;
}

/// A buffer of one issuer: 24-bit slot in the low bits, 40-bit serial above. The serial is the
/// generation: a slot given out again carries another one, so that an old handle is recognised.
struct BufferId {
  std::uint64_t value = 0;
  static constexpr unsigned kSlotBits = 24;
  static constexpr std::uint64_t kSlotMax = (std::uint64_t{1} << kSlotBits) - 1;
  static constexpr std::uint64_t kSerialMax = (std::uint64_t{1} << 40) - 1;
  static constexpr BufferId make(std::uint32_t slot, std::uint64_t serial) {
    return {(serial << kSlotBits) | slot};
  }
  constexpr std::uint32_t slot() const { return static_cast<std::uint32_t>(value & kSlotMax); }
  constexpr std::uint64_t serial() const { return value >> kSlotBits; }
  friend constexpr auto operator<=>(const BufferId&, const BufferId&) = default;
};

}  // namespace echelon

template <class Tag, class Rep>
struct std::hash<echelon::StrongId<Tag, Rep>> {
  std::size_t operator()(const echelon::StrongId<Tag, Rep>& id) const noexcept {
    return static_cast<std::size_t>(id.value * 0x9E3779B97F4A7C15ull);
  }
};
