// SPDX-License-Identifier: Apache-2.0
//
// Callables of a Worker, and what of them is visible in it: its own and its ancestors' (C7).
//
// A slot, the number in task frames, is a callable's place in the list from the root's first to
// this Worker's last, counted from 1. A child's list begins with its parent's, so that a parent's
// slots mean the same in its children without a message. Frozen by start().
//
// Fork: made before the fork and inherited, functions and all they capture.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/chip_image.h>
#include <echelon/embedding.h>
#include <echelon/handles.h>
#include <echelon/orchestrator.h>
#include <echelon/task.h>

#include "base/digest.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"
#include "process/payload.h"

namespace echelon::detail {

class LoadedLibrary;

struct Callable {
  TaskKind kind = TaskKind::kSub;
  std::string name;
  std::string digest;  // hex SHA-256 of its descriptor; of a shipped one: digest_of() makes it
  std::optional<Digest> shipped;  // SHA-256 of the payload that it was made from
  // What the function's code lies in, if not in the program; before it, to be destroyed after it.
  std::shared_ptr<const LoadedLibrary> library;
  std::function<void(Task&)> sub;
  std::function<void(Orchestrator&, TaskArgs&)> orch;
  std::shared_ptr<const ChipImageState> image;
  // What a session on another host makes it from. kInherited: nothing, unless `pack` knows.
  embedding::Form form = embedding::Form::kInherited;
  std::shared_ptr<const Payload> payload;  // kName: the function's name
  embedding::Pack pack;
};

/// A library that was registered before start().
struct InheritedLibrary {
  std::string name;
  std::shared_ptr<const LoadedLibrary> library;
};

/// As the program spells it: "sub" of register_sub, "orch" of register_orch.
constexpr std::string_view spelling(TaskKind kind) {
  return kind == TaskKind::kOrch ? "orch" : kind == TaskKind::kChip ? "chip" : "sub";
}

/// What one Worker has registered.
class Registrations {
 public:
  explicit Registrations(std::uint64_t owner) : owner_(owner) {}
  /// Errors: kAlreadyExists for a name given twice in one kind; kBadArgument for an empty name.
  Result<CallableRef> add(Callable callable);
  /// What is loaded twice is one.
  CallableRef add(InheritedLibrary library);
  std::uint64_t owner() const { return owner_; }
  const std::vector<Callable>& all() const { return all_; }
  const std::vector<InheritedLibrary>& libraries() const { return libraries_; }

 private:
  const std::uint64_t owner_;
  std::vector<InheritedLibrary> libraries_;
  std::vector<Callable> all_;
};

/// What is visible at one Worker.
class CallableTable {
 public:
  CallableTable() = default;
  /// `own` goes behind what the parent sees. Both must outlive the table.
  CallableTable(const CallableTable* parent, const Registrations& own);

  /// 0: not visible here.
  CallableSlot slot_of(const CallableRef& ref) const {
    for (const Range& range : ranges_) {
      if (range.owner == ref.owner && ref.number < range.count && ref.serial == 0) {
        return CallableSlot{range.first + ref.number};
      }
    }
    return {};
  }
  /// nullptr: no such slot (a peer's mistake, or ours).
  const Callable* at(CallableSlot slot) const {
    return slot.value != 0 && slot.value <= callables_.size() ? callables_[slot.value - 1]
                                                              : nullptr;
  }
  std::size_t size() const { return callables_.size(); }
  /// The handle of a slot. REQUIRES: at(slot) is there.
  CallableRef ref_of(CallableSlot slot) const;
  /// How many Workers lie between this one and that: 0 is this one. nullopt: it is not known here.
  std::optional<std::size_t> distance_to(std::uint64_t owner) const;
  /// Of the Workers whose handles are known here: the root's first.
  std::vector<std::uint64_t> owners() const;
  /// Of this Worker and its ancestors, each content once.
  const std::vector<const InheritedLibrary*>& libraries() const { return libraries_; }
  /// Whether handles of that Worker may be used here: it is this one or an ancestor.
  bool knows(std::uint64_t owner) const {
    for (const Range& range : ranges_) {
      if (range.owner == owner) return true;
    }
    return false;
  }

 private:
  struct Range {
    std::uint64_t owner;
    std::uint32_t first, count;
  };
  std::vector<Range> ranges_;
  std::vector<const Callable*> callables_;
  std::vector<const InheritedLibrary*> libraries_;
};

}  // namespace echelon::detail
