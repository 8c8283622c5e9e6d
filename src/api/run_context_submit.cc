// SPDX-License-Identifier: Apache-2.0
//
// RunContext: from Args to a task in the engine.
#include <fmt/format.h>

#include <utility>

#include "api/group_staging.h"
#include "api/node.h"
#include "api/prepared_task.h"
#include "api/remote_memory.h"
#include "api/run_context.h"
#include "api/staging.h"
#include "api/tensor_state.h"
#include "api/throw_status.h"
#include "api/wait_announced.h"

namespace echelon::detail {
namespace {

/// What a tensor's borrower may do with it: an output's borrower may read what it has written.
Access lent_access(Tag tag) {
  return tag == Tag::kInput || tag == Tag::kNoDep ? Access::kRead : Access::kReadWrite;
}

[[noreturn]] void throw_exhausted_in_scope(ErrorInfo info, const std::string& scope) {
  if (!scope.empty()) info.message += fmt::format(" (asked for in scope {})", scope);
  throw_error(std::make_shared<const ErrorInfo>(std::move(info)));
}

[[noreturn]] void throw_not_visible(const CallableRef& ref, std::string_view kind,
                                    const Node& node) {
  if (ref.owner == 0) {
    throw_bad_argument(
        fmt::format("submit: the {} handle is empty; it comes from register_{}()", kind, kind));
  }
  if (ref.serial != 0 && node.callables().knows(ref.owner)) {
    throw_new(Code::kNotFound, Reason::kStaleHandle,
              fmt::format("submit: the {} handle was unregistered, or its tree was closed; "
                          "register the callable again",
                          kind));
  }
  throw_new(
      Code::kInvalidArgument, Reason::kForeignHandle,
      fmt::format("submit: the {} handle was registered neither on {} nor on a Worker above it; "
                  "register it there",
                  kind, node.path()));
}

[[noreturn]] void throw_wrong_kind(const std::string& name, TaskKind is, TaskKind wanted) {
  throw_new(Code::kInvalidArgument, Reason::kWrongKind,
            fmt::format("submit: \"{}\" was registered by register_{}() and is no {} callable",
                        name, spelling(is), spelling(wanted)));
}

}  // namespace

PreparedTask& RunContext::scratch(std::size_t i) {
  while (scratch_.size() <= i) scratch_.push_back(std::make_unique<PreparedTask>());
  scratch_[i]->clear();
  return *scratch_[i];
}

void RunContext::add_tensor(PreparedTask& prepared, const Tensor& tensor, Tag tag) {
  const TensorState* state = TensorAccess::state(tensor);
  const std::size_t i = prepared.tensors.size();
  if (state == nullptr) {
    throw_bad_argument(
        fmt::format("submit: tensor argument {} is empty (default-constructed or moved from)", i));
  }
  Buffer& buffer = *state->buffer.get();
  throw_if_error(node_->memory().check_usable_here(buffer, i));
  if (!allows(state->desc.access, access_for(tag))) {
    throw_new(Code::kPermissionDenied, Reason::kWrongAccess,
              fmt::format("submit: tensor argument {}, {}, is lent for reading only; tag it input",
                          i, tensor.describe()));
  }
  TaggedTensor& tagged = prepared.tensors.emplace_back(TaggedTensor{state->desc, tag});
  tagged.desc.access = lent_access(tag);
  TaskAccess access;
  access.desc = state->desc;
  access.tag = tag;
  access.only_at = buffer.only_child();
  if (!buffer.try_pin()) throw_if_error(buffer.check_usable());
  access.pin = reinterpret_cast<std::uint64_t>(&buffer);
  if (node_->has_remotes() && allows(access_for(tag), Access::kWrite)) buffer.note_write();
  prepared.accesses.push_back(access);
}

void RunContext::note_written(const PreparedTask& prepared) const {
  if (!node_->has_remotes()) return;
  for (const TaskAccess& access : prepared.accesses) {
    if (!allows(access_for(access.tag), Access::kWrite)) continue;
    reinterpret_cast<Buffer*>(access.pin)->note_write();
  }
}

Tensor RunContext::allocate_output(const ArgTensor& given, TaskKind kind,
                                   const std::optional<WorkerId>& worker) {
  if (kind == TaskKind::kOrch && worker && node_->remote(ChildIndex{worker->value}) != nullptr) {
    return remote_tensor(*worker, given.shape, given.dtype);
  }
  if (kind == TaskKind::kChip && worker.has_value()) {
    return node_->memory().allocate_on_chip(ChildIndex{worker->value}, given.shape, given.dtype);
  }
  return allocate(given.shape, given.dtype);
}

Tensor RunContext::allocate(const Shape& shape, DType dtype) {
  check_alive();
  for (;;) {
    const std::uint64_t leaving = node_->memory().leaving_bytes();
    try {
      return node_->memory().allocate(shape, dtype);
    } catch (const ResourceExhausted& error) {
      if (leaving == 0) throw_exhausted_in_scope(error.info(), config_.scope);
    }
    Status run;
    auto some_left = [&] {
      run = node_->engine().check_run(run_);
      return !run.ok() || node_->memory().leaving_bytes() != leaving;
    };
    wait_announced(node_->language(), node_->env(),
                   [&](MonotonicNs until) { return node_->driver().wait_until(some_left, until); });
    throw_if_error(run);
  }
}

Tensor RunContext::remote_tensor(WorkerId worker, const Shape& shape, DType dtype) {
  check_alive();
  return allocate_remote(*node_, ChildIndex{worker.value}, shape, dtype, false);
}

void RunContext::prepare(PreparedTask& prepared, TaskKind kind, const CallableRef& ref,
                         const Args& args, const TaskPlace& place) {
  TaskSpec& spec = prepared.spec;
  spec.run = run_;
  spec.scope = scope_;
  spec.kind = kind;
  if (kind == TaskKind::kCopy) {
    spec.callable = "copy";
  } else if (ref.serial == 0) {
    spec.slot = node_->callables().slot_of(ref);
    const Callable* callable = node_->callables().at(spec.slot);
    if (callable == nullptr) throw_not_visible(ref, spelling(kind), *node_);
    if (callable->kind != kind) throw_wrong_kind(callable->name, callable->kind, kind);
    spec.callable = callable->name;
  }
  if (place.worker.has_value()) spec.worker = ChildIndex{place.worker->value};
  if (place.deadline.count() > 0) {
    spec.deadline_ns = node_->env().now_ns() + static_cast<std::uint64_t>(place.deadline.count());
  } else if (place.deadline.count() < 0) {
    throw_bad_argument("submit: a negative deadline; it counts from now, and zero means none");
  }
  if (args.tensors().size() > kTaskTensorsMax || args.scalars().size() > kTaskScalarsMax) {
    throw_new(Code::kInvalidArgument, Reason::kTooLarge,
              fmt::format("submit: {} tensors and {} scalars; at most {} and {} are possible",
                          args.tensors().size(), args.scalars().size(), kTaskTensorsMax,
                          kTaskScalarsMax));
  }
  for (std::size_t i = 0; i < args.scalars().size(); ++i) {
    prepared.scalars.push_back({args.scalars()[i].dtype, args.scalars()[i].bits});
  }
  if (kind == TaskKind::kChip && !args.inlined().empty()) {
    throw_bad_argument(
        "submit: a chip kernel takes tensors and scalars, no inline bytes: give it a tensor");
  }
  prepared.inlined.assign(args.inlined().begin(), args.inlined().end());
  for (const TaskHandle& handle : place.after) {
    if (handle.run_.get() != this) {
      throw_new(Code::kInvalidArgument, Reason::kForeignHandle,
                "submit: a task in `after` belongs to another run; order runs by waiting for them");
    }
    prepared.after.push_back(TaskId{handle.id_});
    if (handle.back_ == nullptr) continue;
    for (const std::uint64_t id : *handle.back_) prepared.after.push_back(TaskId{id});
  }
  spec.after = prepared.after;
  if (ref.serial != 0) use_late(prepared, kind, ref);
}

/// The last that can fail in prepare(): from here on unpin() gives the use back, or the engine.
void RunContext::use_late(PreparedTask& prepared, TaskKind kind, const CallableRef& ref) {
  const Callable* callable = node_->late().use(ref);
  if (callable == nullptr) throw_not_visible(ref, spelling(kind), *node_);
  prepared.spec.slot = CallableSlot{ref.number};
  prepared.late = &node_->late();
  if (callable->kind != kind) {
    const std::string name = callable->name;
    const TaskKind is = callable->kind;
    prepared.unpin();
    throw_wrong_kind(name, is, kind);
  }
  prepared.spec.callable = callable->name;
}

void RunContext::add_tensors(PreparedTask& prepared, const Args& args, TaskKind kind,
                             const TaskPlace& place, Outputs& outputs) {
  try {
    for (std::size_t i = 0; i < args.tensors().size(); ++i) {
      const ArgTensor& given = args.tensors()[i];
      if (given.dtype == DType::kNone) {
        add_tensor(prepared, given.tensor, static_cast<Tag>(given.tag));
        continue;
      }
      if (outputs == nullptr) outputs = std::make_shared<std::vector<Tensor>>();
      outputs->push_back(allocate_output(given, kind, place.worker));
      add_tensor(prepared, outputs->back(), static_cast<Tag>(given.tag));
    }
    if (kind == TaskKind::kCopy) place_direct_copy(prepared);
    throw_if_error(settle_place(*node_, kind, prepared.accesses, prepared.spec.worker));
  } catch (...) {
    prepared.unpin();
    throw;
  }
}

/// One from session to session is the sender's, whoever else reaches the other tensor.
void RunContext::place_direct_copy(PreparedTask& prepared) const {
  if (prepared.accesses.size() != 2) return;
  auto& to = prepared.accesses[0].only_at;
  const auto& from = prepared.accesses[1].only_at;
  if (!to || !from || !node_->copies_directly(*from, *to)) return;
  prepared.spec.worker = from;
  to.reset();
}

void RunContext::encode(PreparedTask& prepared, const std::optional<CallConfig>& given) {
  const CallConfig* config = config_default_ && scope_ == 0 ? nullptr : &config_;
  if (given.has_value()) config = &*given;
  prepared.body.resize(
      task_body_bytes(prepared.tensors, prepared.scalars, config, prepared.inlined));
  encode_task_body(prepared.tensors, prepared.scalars, config, prepared.body, prepared.inlined);
  prepared.spec.body = prepared.body;
  prepared.spec.accesses = prepared.accesses;
}

void RunContext::submit_when_room(FunctionRef<Status(MonotonicNs)> submit,
                                  FunctionRef<void()> unpin) {
  try {
    throw_if_error(try_submit_when_room(submit));
  } catch (...) {
    unpin();
    throw;
  }
}

Status RunContext::try_submit_when_room(FunctionRef<Status(MonotonicNs)> submit) {
  Status status;
  bool can_wait = false;
  auto input = [&](MonotonicNs now) {
    status = submit(now);
    can_wait = status.reason() == Reason::kExhausted && node_->engine().can_wait_for_room();
  };
  node_->driver().apply(input);
  while (!status.ok() && can_wait) {
    // The condition is asked after every poll: it tries again, and that is the submit.
    auto accepted = [&] {
      status = submit(node_->env().now_ns());
      can_wait = status.reason() == Reason::kExhausted && node_->engine().can_wait_for_room();
      return !can_wait;
    };
    wait_announced(node_->language(), node_->env(),
                   [&](MonotonicNs until) { return node_->driver().wait_until(accepted, until); });
  }
  return status;
}

TaskHandle RunContext::submit(TaskKind kind, const CallableRef& ref, const Args& args,
                              const SubmitOptions& options) {
  check_alive();
  if (const auto worker = Staging::worker_for(*node_, kind, args, options)) {
    return Staging(*this, *worker, options).submit(ref, args);
  }
  PreparedTask& prepared = scratch(0);
  const TaskPlace place{options.worker, options.after, options.deadline};
  Outputs outputs;
  std::optional<CallConfig> config;
  if (options.config) config = with_scope(*options.config, config_.scope, "submit");
  prepare(prepared, kind, ref, args, place);
  add_tensors(prepared, args, kind, place, outputs);
  encode(prepared, config);
  TaskId id;
  auto submit_now = [&](MonotonicNs now) {
    auto result = node_->engine().submit(prepared.spec, now);
    if (!result.ok()) return result.status();
    id = *result;
    return Status();
  };
  auto unpin = [&prepared] { prepared.unpin(); };
  submit_when_room(submit_now, unpin);
  note_written(prepared);
  return handle(id, std::move(outputs));
}

std::vector<TaskHandle> RunContext::submit_group(TaskKind kind, const CallableRef& ref,
                                                 std::span<const Args> args,
                                                 const GroupOptions& options) {
  check_alive();
  if (!options.workers.empty() && options.workers.size() != args.size()) {
    throw_bad_argument(
        fmt::format("submit_group: {} workers for {} tasks; give one a task, or none",
                    options.workers.size(), args.size()));
  }
  if (args.empty()) return {};
  if (auto staging = GroupStaging::of(*this, kind, args, options)) {
    return staging->submit(ref, args);
  }
  std::optional<CallConfig> config;
  if (options.config) config = with_scope(*options.config, config_.scope, "submit_group");
  std::vector<TaskSpec> specs;
  std::vector<Outputs> outputs(args.size());
  std::size_t prepared_count = 0;
  auto unpin_all = [&] {
    for (std::size_t i = 0; i < prepared_count; ++i) scratch_[i]->unpin();
  };
  try {
    for (std::size_t i = 0; i < args.size(); ++i) {
      PreparedTask& prepared = scratch(i);
      TaskPlace place{std::nullopt, options.after, options.deadline};
      if (!options.workers.empty()) place.worker = options.workers[i];
      prepare(prepared, kind, ref, args[i], place);
      add_tensors(prepared, args[i], kind, place, outputs[i]);
      ++prepared_count;
      encode(prepared, config);
      specs.push_back(prepared.spec);
    }
  } catch (...) {
    unpin_all();
    throw;
  }
  std::vector<TaskId> ids(args.size());
  auto submit_now = [&](MonotonicNs now) { return node_->engine().submit_group(specs, ids, now); };
  submit_when_room(submit_now, unpin_all);
  for (std::size_t i = 0; i < args.size(); ++i) note_written(*scratch_[i]);
  std::vector<TaskHandle> handles;
  for (std::size_t i = 0; i < ids.size(); ++i)
    handles.push_back(handle(ids[i], std::move(outputs[i])));
  return handles;
}

TaskHandle RunContext::handle(TaskId id, Outputs outputs) {
  if (!scopes_.empty()) scopes_.back().tasks.push_back(id);
  TaskHandle result;
  result.run_ = shared_from_this();
  result.id_ = id.value;
  result.outputs_ = std::move(outputs);
  return result;
}

TaskHandle RunContext::joined(const TaskHandle& task, Outputs outputs,
                              std::span<const TaskHandle> back) const {
  TaskHandle result = task;
  result.outputs_ = std::move(outputs);
  auto ids = std::make_shared<std::vector<std::uint64_t>>();
  for (const TaskHandle& one : back) ids->push_back(one.id_);
  if (!ids->empty()) result.back_ = std::move(ids);
  return result;
}

TaskHandle RunContext::copy(const Tensor& dst, const Tensor& src, const SubmitOptions& options) {
  check_alive();
  const TensorState* to = TensorAccess::state(dst);
  const TensorState* from = TensorAccess::state(src);
  if (to == nullptr || from == nullptr) throw_bad_argument("copy: an empty tensor");
  if (to->desc.dtype != from->desc.dtype || dst.shape() != src.shape()) {
    throw_new(Code::kInvalidArgument, Reason::kWrongType,
              fmt::format("copy: {} cannot be copied to {}: dtype and shape must be the same",
                          src.describe(), dst.describe()));
  }
  const auto to_chip = to->buffer->only_child();
  const auto from_chip = from->buffer->only_child();
  if (to_chip && from_chip && *to_chip != *from_chip &&
      !node_->copies_directly(*from_chip, *to_chip)) {
    // Two chips do not reach each other's memory: through the host, as two tasks.
    const Tensor middle = allocate(src.shape(), src.dtype());
    submit(TaskKind::kCopy, {}, Args().output(middle).input(src), options);
    SubmitOptions second = options;
    second.after.clear();
    return submit(TaskKind::kCopy, {}, Args().output(dst).input(middle), second);
  }
  return submit(TaskKind::kCopy, {}, Args().output(dst).input(src), options);
}

}  // namespace echelon::detail
