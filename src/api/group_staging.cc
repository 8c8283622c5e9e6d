// SPDX-License-Identifier: Apache-2.0
#include "api/group_staging.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/node.h"
#include "api/tensor_state.h"
#include "api/throw_status.h"

namespace echelon::detail {
namespace {

SubmitOptions options_of(const GroupOptions& group, std::size_t i) {
  SubmitOptions options;
  if (!group.workers.empty()) options.worker = group.workers[i];
  options.after = group.after;
  options.deadline = group.deadline;
  options.config = group.config;
  options.stage = group.stage;
  return options;
}

/// The one Worker that reaches a tensor of its; nullopt: none is the only one.
std::optional<ChildIndex> home_of(const Args& args) {
  for (std::size_t i = 0; i < args.tensors().size(); ++i) {
    const TensorState* state = TensorAccess::state(args.tensors()[i].tensor);
    if (state != nullptr && state->buffer->only_child()) return state->buffer->only_child();
  }
  return std::nullopt;
}

/// A Worker for each member, all different: where its tensors are, otherwise the least loaded.
std::vector<WorkerId> places_for(Node& node, std::span<const Args> args, Stage stage) {
  std::vector<ChildIndex> taken;
  std::vector<WorkerId> places(args.size());
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (const auto home = home_of(args[i])) {
      taken.push_back(*home);
      places[i] = WorkerId{home->value};
    } else {
      open.push_back(i);
    }
  }
  for (const std::size_t i : open) {
    const auto place = node.least_loaded_stageable(stage, taken);
    if (!place) {
      throw_new(Code::kInvalidArgument, Reason::kNoEligibleChild,
                fmt::format("submit_group: {} tasks, each on a Worker of its own, and {} has {} "
                            "that they could run on",
                            args.size(), node.path(), taken.size()));
    }
    taken.push_back(*place);
    places[i] = WorkerId{place->value};
  }
  return places;
}

bool writes(ArgTag tag) {
  return tag != ArgTag::kInput && tag != ArgTag::kNoDep;
}

/// Whether both are there, and one writes what the other uses.
bool clash(const ArgTensor& a, const ArgTensor& b) {
  const TensorState* const one = TensorAccess::state(a.tensor);
  const TensorState* const other = TensorAccess::state(b.tensor);
  return one != nullptr && other != nullptr && (writes(a.tag) || writes(b.tag)) &&
         a.tag != ArgTag::kNoDep && b.tag != ArgTag::kNoDep &&
         one->desc.issuer == other->desc.issuer && one->desc.buffer == other->desc.buffer &&
         may_overlap(one->desc, other->desc);
}

}  // namespace

std::optional<GroupStaging> GroupStaging::of(RunContext& run, TaskKind kind,
                                             std::span<const Args> args,
                                             const GroupOptions& options) {
  Node& node = run.node();
  if (!node.has_remotes() || kind != TaskKind::kOrch || options.stage == Stage::kRefuse) return {};
  GroupOptions placed = options;
  std::vector<bool> staged(args.size());
  const auto look = [&] {
    bool any = false;
    for (std::size_t i = 0; i < args.size(); ++i) {
      staged[i] = Staging::worker_for(node, kind, args[i], options_of(placed, i)).has_value();
      any = any || staged[i];
    }
    return any;
  };
  if (!look()) return {};
  if (placed.workers.empty()) {
    placed.workers = places_for(node, args, options.stage);
    look();
  }
  return GroupStaging(run, std::move(placed), std::move(staged));
}

/// Their copies would not clash, so that nobody else would notice.
void GroupStaging::check_apart(std::span<const Args> args) const {
  for (std::size_t i = 0; i < args.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      for (std::size_t a = 0; a < args[i].tensors().size(); ++a) {
        for (std::size_t b = 0; b < args[j].tensors().size(); ++b) {
          if (!clash(args[i].tensors()[a], args[j].tensors()[b])) continue;
          throw_bad_argument(fmt::format(
              "submit_group: tasks {} and {} use the same elements, and one writes them: tasks of "
              "a group run at the same time; submit one after the other",
              j, i));
        }
      }
    }
  }
}

std::vector<TaskHandle> GroupStaging::submit(const CallableRef& ref, std::span<const Args> args) {
  check_apart(args);
  std::vector<SubmitOptions> options;
  options.reserve(args.size());  // each Staging refers to its own
  std::vector<std::optional<Staging>> stagings(args.size());
  std::vector<Args> there;
  for (std::size_t i = 0; i < args.size(); ++i) {
    options.push_back(options_of(options_, i));
    if (!staged_[i]) {
      there.push_back(args[i]);
      continue;
    }
    stagings[i].emplace(run_, ChildIndex{options_.workers[i].value}, options.back());
    there.push_back(stagings[i]->send(args[i]));
  }
  GroupOptions group = options_;
  group.stage = Stage::kRefuse;
  std::vector<TaskHandle> handles = run_.submit_group(TaskKind::kOrch, ref, there, group);
  for (std::size_t i = 0; i < handles.size(); ++i) {
    if (stagings[i]) handles[i] = stagings[i]->bring_back(handles[i]);
  }
  return handles;
}

}  // namespace echelon::detail
