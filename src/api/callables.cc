// SPDX-License-Identifier: Apache-2.0
#include "api/callables.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/names.h"
#include "base/check.h"
#include "base/digest.h"

namespace echelon::detail {

Result<CallableRef> Registrations::add(Callable callable) {
  const std::string_view kind = spelling(callable.kind);
  if (callable.name.empty()) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("register_{}: the name is empty", kind));
  }
  if (has_control_characters(callable.name)) {
    return Status::error(
        Code::kInvalidArgument, Reason::kBadArgument,
        fmt::format("register_{}: {}", kind, control_characters_refusal(callable.name)));
  }
  const bool taken = std::any_of(all_.begin(), all_.end(), [&](const Callable& other) {
    return other.kind == callable.kind && other.name == callable.name;
  });
  if (taken) {
    return Status::error(
        Code::kAlreadyExists, Reason::kBadArgument,
        fmt::format("register_{}: \"{}\" is registered here already; names are unique in a Worker",
                    kind, callable.name));
  }
  const auto number = static_cast<std::uint32_t>(all_.size());
  callable.digest = to_hex(
      sha256(fmt::format("inherited\n{}\n{:016x}\n{}\n{}", kind, owner_, number, callable.name)));
  all_.push_back(std::move(callable));
  return CallableRef{owner_, number, 0};
}

CallableRef Registrations::add(InheritedLibrary library) {
  const auto same =
      std::find_if(libraries_.begin(), libraries_.end(),
                   [&](const InheritedLibrary& other) { return other.library == library.library; });
  const auto number = static_cast<std::uint32_t>(same - libraries_.begin());
  if (same == libraries_.end()) libraries_.push_back(std::move(library));
  return CallableRef{owner_, number, 0};
}

CallableTable::CallableTable(const CallableTable* parent, const Registrations& own) {
  if (parent != nullptr) *this = *parent;
  ranges_.push_back({own.owner(), static_cast<std::uint32_t>(callables_.size() + 1),
                     static_cast<std::uint32_t>(own.all().size())});
  for (const Callable& callable : own.all()) callables_.push_back(&callable);
  for (const InheritedLibrary& library : own.libraries()) {
    const bool known = std::any_of(
        libraries_.begin(), libraries_.end(),
        [&](const InheritedLibrary* other) { return other->library == library.library; });
    if (!known) libraries_.push_back(&library);
  }
}

CallableRef CallableTable::ref_of(CallableSlot slot) const {
  ECHELON_CHECK(at(slot) != nullptr, slot.value);
  const auto holds = [slot](const Range& range) {
    return slot.value >= range.first && slot.value - range.first < range.count;
  };
  const auto range = std::find_if(ranges_.begin(), ranges_.end(), holds);
  return CallableRef{range->owner, slot.value - range->first, 0};
}

std::vector<std::uint64_t> CallableTable::owners() const {
  std::vector<std::uint64_t> owners;
  for (const Range& range : ranges_) owners.push_back(range.owner);
  return owners;
}

std::optional<std::size_t> CallableTable::distance_to(std::uint64_t owner) const {
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    if (ranges_[i].owner == owner) return ranges_.size() - 1 - i;
  }
  return std::nullopt;
}

}  // namespace echelon::detail
