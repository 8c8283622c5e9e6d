// SPDX-License-Identifier: Apache-2.0
#include "api/staging.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "api/node.h"
#include "api/remote_memory.h"
#include "api/throw_status.h"

namespace echelon::detail {
namespace {

/// Of a copy whose bytes are nothing that the local tensor has had.
constexpr std::uint64_t kNoVersion = std::numeric_limits<std::uint64_t>::max();
/// What copying a tensor back adds to its version: see Buffer::note_write().
constexpr std::uint64_t kWritesOfOneTask = 2;

bool writes(ArgTag tag) {
  return tag == ArgTag::kOutput || tag == ArgTag::kInout || tag == ArgTag::kOutputExisting;
}

const TensorState& state_of(const Tensor& tensor, std::size_t argument) {
  const TensorState* state = TensorAccess::state(tensor);
  if (state != nullptr) return *state;
  throw_bad_argument(fmt::format(
      "submit: tensor argument {} is empty (default-constructed or moved from)", argument));
}

bool lies_at(const Tensor& tensor, ChildIndex worker) {
  const TensorState* state = TensorAccess::state(tensor);
  return state != nullptr && state->buffer->only_child() == worker;
}

/// Of another host's memory and of loans nobody here knows what becomes.
bool cacheable(const Buffer& buffer) {
  return !buffer.lent() && !buffer.only_child();
}

Args& add(Args& args, const Tensor& tensor, ArgTag tag) {
  switch (tag) {
    case ArgTag::kOutput:
      return args.output(tensor);
    case ArgTag::kInout:
      return args.inout(tensor);
    case ArgTag::kOutputExisting:
      return args.output_existing(tensor);
    default:
      return args.input(tensor);
  }
}

}  // namespace

std::optional<ChildIndex> Staging::worker_for(Node& node, TaskKind kind, const Args& args,
                                              const SubmitOptions& options) {
  if (!node.has_remotes() || kind != TaskKind::kOrch || options.stage == Stage::kRefuse) return {};
  std::optional<ChildIndex> at;
  if (options.worker) at = ChildIndex{options.worker->value};
  bool local = false;
  for (std::size_t i = 0; i < args.tensors().size(); ++i) {
    const TensorState* state = TensorAccess::state(args.tensors()[i].tensor);
    const auto only = state != nullptr ? state->buffer->only_child() : std::nullopt;
    if (!only)
      local = true;
    else if (!at)
      at = only;
    else
      local = local || only != at;
  }
  if (!local) return {};
  if (!at) at = node.least_loaded_stageable(options.stage);
  if (!at || node.remote(*at) == nullptr) return {};
  const Stage stage = options.stage == Stage::kDefault ? node.stage_of(*at) : options.stage;
  return stage == Stage::kCopy ? at : std::nullopt;
}

TaskHandle Staging::submit(const CallableRef& ref, const Args& args) {
  const Args there = send(args);
  SubmitOptions on = options_;
  on.worker = WorkerId{worker_.value};
  on.stage = Stage::kRefuse;
  return bring_back(run_.submit(TaskKind::kOrch, ref, there, on));
}

Args Staging::send(const Args& args) {
  check_apart(args);
  outputs_ = std::make_shared<std::vector<Tensor>>();
  Args there;
  for (std::size_t i = 0; i < args.tensors().size(); ++i) {
    const ArgTensor& given = args.tensors()[i];
    Tensor local = given.tensor;
    if (given.dtype != DType::kNone) {
      local = run_.allocate(given.shape, given.dtype);
      outputs_->push_back(local);
    }
    add(there, stage(local, given.tag), given.tag);
  }
  for (std::size_t i = 0; i < args.scalars().size(); ++i) there.scalar(args.scalars()[i]);
  for (const auto& bytes : args.inlined()) there.inline_bytes(std::span<const std::byte>(bytes));
  return there;
}

TaskHandle Staging::bring_back(const TaskHandle& task) {
  std::vector<TaskHandle> back;
  for (const Back& one : back_) back.push_back(copy_back(one));
  return run_.joined(task, std::move(outputs_), back);
}

void Staging::check_apart(const Args& args) const {
  const auto& tensors = args.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].dtype != DType::kNone) continue;
    const TensorState& one = state_of(tensors[i].tensor, i);
    throw_if_error(run_.node().memory().check_usable_here(*one.buffer.get(), i));
    if (writes(tensors[i].tag) &&
        !allows(one.desc.access, access_for(static_cast<Tag>(tensors[i].tag)))) {
      throw_new(
          Code::kPermissionDenied, Reason::kWrongAccess,
          fmt::format("submit: tensor argument {}, {}, is lent for reading only; tag it input", i,
                      tensors[i].tensor.describe()));
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (tensors[j].dtype != DType::kNone) continue;
      const TensorState& other = *TensorAccess::state(tensors[j].tensor);
      const bool shared =
          one.desc.issuer == other.desc.issuer && one.desc.buffer == other.desc.buffer &&
          (writes(tensors[i].tag) || writes(tensors[j].tag)) && may_overlap(one.desc, other.desc);
      if (!shared) continue;
      throw_bad_argument(
          fmt::format("submit: tensor arguments {} and {} overlap, and one is written: copied to a "
                      "remote Worker they would not; give it one tensor, or put it there with "
                      "remote_tensor()",
                      j, i));
    }
  }
}

Tensor Staging::stage(const Tensor& given, ArgTag tag) {
  if (lies_at(given, worker_)) return given;
  const Tensor copy = copy_of(given, tag != ArgTag::kOutput);
  if (!writes(tag)) return copy;
  // Until it is copied back it has bytes of its own.
  const TensorState& state = *TensorAccess::state(given);
  if (cacheable(*state.buffer.get())) {
    run_.node().staging().put(worker_, state.desc, kNoVersion, run_.run(), copy);
  }
  back_.push_back({given, copy});
  return copy;
}

Tensor Staging::copy_of(const Tensor& local, bool down) {
  const TensorState& state = *TensorAccess::state(local);
  const Buffer& buffer = *state.buffer.get();
  StagingCache& cache = run_.node().staging();
  const std::uint64_t version = buffer.version();
  std::optional<StagingCache::Found> found;
  if (cacheable(buffer)) found = cache.find(worker_, state.desc, version, run_.run());
  if (down && found && found->current && !buffer.written_by_hand()) return found->copy;
  const Tensor copy = found ? found->copy : remote_like(local);
  if (!down) return copy;
  SubmitOptions options;
  options.after = options_.after;
  run_.copy(copy, local, options);
  if (cacheable(buffer)) cache.put(worker_, state.desc, version, run_.run(), copy);
  return copy;
}

Tensor Staging::remote_like(const Tensor& local) {
  return run_.remote_tensor(WorkerId{worker_.value}, local.shape(), local.dtype());
}

TaskHandle Staging::copy_back(const Back& back) {
  const TensorState& state = *TensorAccess::state(back.local);
  const std::uint64_t version = state.buffer->version();
  const TaskHandle handle = run_.copy(back.local, back.copy, {});
  if (cacheable(*state.buffer.get())) {
    run_.node().staging().put(worker_, state.desc, version + kWritesOfOneTask, run_.run(),
                              back.copy);
  }
  return handle;
}

}  // namespace echelon::detail
