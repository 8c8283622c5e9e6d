// SPDX-License-Identifier: Apache-2.0
#include "api/callable_lookup.h"

#include <fmt/format.h>

#include <functional>
#include <limits>
#include <vector>

#include "api/names.h"

namespace echelon::detail {
namespace {

using Visit = std::function<void(const CallableRef&, const Callable&)>;

void for_each_of(const CallableTable& inherited, LateTable& late, TaskKind kind,
                 const Visit& visit) {
  for (std::uint32_t slot = 1; slot <= inherited.size(); ++slot) {
    const Callable& callable = *inherited.at(CallableSlot{slot});
    if (callable.kind == kind) visit(inherited.ref_of(CallableSlot{slot}), callable);
  }
  late.for_each([&](const CallableRef& ref, const Callable& callable) {
    if (callable.kind == kind) visit(ref, callable);
  });
}

std::vector<std::string> names_of(const CallableTable& inherited, LateTable& late, TaskKind kind) {
  std::vector<std::string> names;
  for_each_of(inherited, late, kind, [&](const CallableRef&, const Callable& callable) {
    names.push_back(callable.name);
  });
  return names;
}

}  // namespace

Result<CallableRef> look_up(const CallableTable& inherited, LateTable& late, TaskKind kind,
                            std::string_view name, const std::string& path) {
  constexpr std::size_t kFarthest = std::numeric_limits<std::size_t>::max();
  CallableRef found;
  std::size_t found_distance = kFarthest, count = 0;
  for_each_of(inherited, late, kind, [&](const CallableRef& ref, const Callable& callable) {
    if (callable.name != name) return;
    const std::size_t distance = inherited.distance_to(ref.owner).value_or(kFarthest);
    if (count != 0 && distance > found_distance) return;
    count = distance < found_distance ? 1 : count + 1;
    found_distance = distance;
    found = ref;
  });
  if (count == 1) return found;
  const std::string call = fmt::format("find_{}(\"{}\")", spelling(kind), name);
  if (count > 1) {
    return Status::error(
        Code::kInvalidArgument, Reason::kBadArgument,
        fmt::format("{}: {} callables of one Worker have this name; give them names of their own",
                    call, count));
  }
  return Status::error(Code::kNotFound, Reason::kBadArgument,
                       fmt::format("{}: none is registered under this name on {} or on a Worker "
                                   "above it; {}",
                                   call, path, names_text(names_of(inherited, late, kind))));
}

}  // namespace echelon::detail
