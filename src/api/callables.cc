// SPDX-License-Identifier: Apache-2.0
#include "api/callables.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/names.h"
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

CallableTable::CallableTable(const CallableTable* parent, const Registrations& own) {
  if (parent != nullptr) *this = *parent;
  ranges_.push_back({own.owner(), static_cast<std::uint32_t>(callables_.size() + 1),
                     static_cast<std::uint32_t>(own.all().size())});
  for (const Callable& callable : own.all()) callables_.push_back(&callable);
}

}  // namespace echelon::detail
