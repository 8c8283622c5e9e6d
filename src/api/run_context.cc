// SPDX-License-Identifier: Apache-2.0
#include "api/run_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "api/node.h"
#include "api/tensor_state.h"
#include "api/throw_status.h"
#include "api/wait_announced.h"

namespace echelon::detail {

/// One task on its way into the engine. Kept between submits for its memory.
struct RunContext::Prepared {
  TaskSpec spec;
  std::vector<TaggedTensor> tensors;
  std::vector<TaskAccess> accesses;
  std::vector<ScalarValue> scalars;
  std::vector<TaskId> after;
  std::vector<std::byte> body;
  LateTable* late = nullptr;  // where a late callable is in use for this task

  void clear() {
    late = nullptr;
    spec = TaskSpec();
    tensors.clear();
    accesses.clear();
    scalars.clear();
    after.clear();
    body.clear();
  }
  /// Gives back the pins of a task that was not submitted.
  void unpin() {
    if (LateTable* used = std::exchange(late, nullptr)) used->release(spec.slot);
    for (const TaskAccess& access : accesses) {
      if (access.pin != 0) reinterpret_cast<Buffer*>(access.pin)->unpin();
    }
    accesses.clear();
  }
};

namespace {

thread_local std::vector<const RunState*> running_here;

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
  throw_new(Code::kInvalidArgument, Reason::kWrongType,
            fmt::format("submit: \"{}\" was registered by register_{}() and is no {} callable",
                        name, spelling(is), spelling(wanted)));
}

}  // namespace

void check_config(const CallConfig& config, std::string_view call) {
  const auto& grid = config.grid;
  if (std::find(grid.begin(), grid.end(), 0u) != grid.end()) {
    throw_bad_argument(fmt::format("{}: a grid of {} x {} x {} blocks; each must be at least 1",
                                   call, grid[0], grid[1], grid[2]));
  }
  const std::size_t bytes = task_body_bytes({}, {}, &config) - task_body_bytes({}, {}, nullptr);
  if (bytes > kTaskConfigBytesMax) {
    throw_new(Code::kInvalidArgument, Reason::kTooLarge,
              fmt::format("{}: the scope and the values of the config have {} bytes; at most {} "
                          "bytes are possible, and larger data belongs in a tensor",
                          call, bytes, kTaskConfigBytesMax));
  }
}

bool running_on_this_thread(const RunState& state) {
  return std::find(running_here.begin(), running_here.end(), &state) != running_here.end();
}

// --- the node's side
// --------------------------------------------------------------------------------

RunContext::RunContext(Node& node) : node_(&node) {}
RunContext::~RunContext() = default;

Status RunContext::begin(RunState& state, const CallConfig& config, MonotonicNs deadline_ns) {
  state_ = &state;
  static const CallConfig kDefault;
  config_default_ = config == kDefault;
  if (!config_default_ || !(config_ == kDefault)) config_ = config;
  scope_ = 0;
  scopes_.clear();
  thrown_.clear();
  Status status;
  auto input = [&](MonotonicNs now) {
    RunSpec spec;
    spec.deadline_ns = deadline_ns;
    spec.token = reinterpret_cast<std::uint64_t>(&state);
    auto run = node_->engine().begin_run(spec, now);
    if (!run.ok()) {
      status = run.status();
      return;
    }
    run_ = *run;
    state.begun(run_);
    node_->add_run(state);
  };
  node_->driver().apply(input);
  ECHELON_RETURN_IF_ERROR(status);
  running_here.push_back(&state);
  // pairs with check_alive(): handles that outlive the run ask from other threads
  alive_.store(true, std::memory_order_release);
  node_->driver().enter_user_code();
  return {};
}

void RunContext::leave() {
  node_->driver().leave_user_code();
  std::erase(running_here, state_);
}

void RunContext::seal(Status status) {
  leave();
  auto input = [&](MonotonicNs now) { node_->engine().seal_run(run_, std::move(status), now); };
  node_->driver().apply(input);
}

void RunContext::seal_and_wait(Status status) {
  leave();
  RunState& state = *state_;
  auto input = [&](MonotonicNs now) { node_->engine().seal_run(run_, std::move(status), now); };
  auto ended = [&state] { return state.ended(); };
  node_->driver().apply_and_wait(input, ended, 0);
}

void RunContext::seal_and_wait_for(Status status, std::chrono::nanoseconds patience) {
  leave();
  RunState& state = *state_;
  const auto until = node_->env().now_ns() + static_cast<MonotonicNs>(patience.count());
  auto input = [&](MonotonicNs now) { node_->engine().seal_run(run_, std::move(status), now); };
  auto ended = [&state] { return state.ended(); };
  const WaitAnnounced announced(node_->language());
  node_->driver().apply_and_wait(input, ended, until);
}

void RunContext::retire() {
  // pairs with check_alive()
  alive_.store(false, std::memory_order_release);
}

Status RunContext::own_failure(const ErrorInfo& info) const {
  const bool known = std::any_of(thrown_.begin(), thrown_.end(),
                                 [&](const auto& thrown) { return thrown.get() == &info; });
  return known ? Status() : Status(info);
}

void RunContext::check_alive() const {
  // pairs with begin() and retire()
  if (alive_.load(std::memory_order_acquire)) return;
  throw_new(Code::kFailedPrecondition, Reason::kWrongState,
            "the run that this task handle, scope or Orchestrator belongs to has ended");
}

// --- submitting
// ---------------------------------------------------------------------------------------

RunContext::Prepared& RunContext::scratch(std::size_t i) {
  while (scratch_.size() <= i) scratch_.push_back(std::make_unique<Prepared>());
  scratch_[i]->clear();
  return *scratch_[i];
}

void RunContext::add_tensor(Prepared& prepared, const Tensor& tensor, Tag tag) {
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
  prepared.accesses.push_back(access);
}

Tensor RunContext::allocate_output(const ArgTensor& given, TaskKind kind,
                                   const std::optional<WorkerId>& worker) {
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

void RunContext::prepare(Prepared& prepared, TaskKind kind, const CallableRef& ref,
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
  for (const TaskHandle& handle : place.after) {
    if (handle.run_.get() != this) {
      throw_new(Code::kInvalidArgument, Reason::kForeignHandle,
                "submit: a task in `after` belongs to another run; order runs by waiting for them");
    }
    prepared.after.push_back(TaskId{handle.id_});
  }
  spec.after = prepared.after;
  if (ref.serial != 0) use_late(prepared, kind, ref);
}

/// The last that can fail in prepare(): from here on unpin() gives the use back, or the engine.
void RunContext::use_late(Prepared& prepared, TaskKind kind, const CallableRef& ref) {
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

void RunContext::add_tensors(Prepared& prepared, const Args& args, TaskKind kind,
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
  } catch (...) {
    prepared.unpin();
    throw;
  }
}

CallConfig RunContext::with_scope(const CallConfig& given, std::string_view scope,
                                  std::string_view call) const {
  CallConfig config = given;
  config.scope = scope;
  check_config(config, call);
  return config;
}

void RunContext::encode(Prepared& prepared, const std::optional<CallConfig>& given) {
  const CallConfig* config = config_default_ && scope_ == 0 ? nullptr : &config_;
  if (given.has_value()) config = &*given;
  prepared.body.resize(task_body_bytes(prepared.tensors, prepared.scalars, config));
  encode_task_body(prepared.tensors, prepared.scalars, config, prepared.body);
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
  Prepared& prepared = scratch(0);
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
      Prepared& prepared = scratch(i);
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
  if (to_chip && from_chip && *to_chip != *from_chip) {
    // Two chips do not reach each other's memory: through the host, as two tasks.
    const Tensor middle = allocate(src.shape(), src.dtype());
    submit(TaskKind::kCopy, {}, Args().output(middle).input(src), options);
    SubmitOptions second = options;
    second.after.clear();
    return submit(TaskKind::kCopy, {}, Args().output(dst).input(middle), second);
  }
  return submit(TaskKind::kCopy, {}, Args().output(dst).input(src), options);
}

// --- scopes
// -------------------------------------------------------------------------------------------

std::uint32_t RunContext::open_scope(std::string_view name) {
  check_alive();
  std::string path = config_.scope;
  if (!path.empty()) path += '/';
  path += name;
  static_cast<void>(with_scope(config_, path, "scope"));
  Result<std::uint32_t> scope(0u);
  auto input = [&](MonotonicNs) { scope = node_->engine().open_scope(run_, scope_, name); };
  node_->driver().apply(input);
  throw_if_error(scope.status());
  scopes_.push_back({*scope, std::exchange(config_.scope, std::move(path)), {}});
  scope_ = *scope;
  return scope_;
}

void RunContext::close_scope(std::uint32_t scope) {
  // Scopes end in the reverse of their order; one that ends early ends those within it.
  while (is_open(scope)) {
    const OpenScope ending = std::move(scopes_.back());
    scopes_.pop_back();
    config_.scope = ending.outer_name;
    scope_ = scopes_.empty() ? 0 : scopes_.back().id;
    auto input = [&](MonotonicNs) {
      node_->engine().close_scope(ending.id);
      if (!scopes_.empty()) hand_out(ending.tasks, scopes_.back().tasks);
    };
    // pairs with retire(): after the run's end the engine has forgotten its scopes
    if (alive_.load(std::memory_order_acquire)) node_->driver().apply(input);
  }
}

bool RunContext::is_open(std::uint32_t scope) const {
  return std::any_of(scopes_.begin(), scopes_.end(),
                     [&](const OpenScope& open) { return open.id == scope; });
}

/// The scope around answers for what has not ended well.
void RunContext::hand_out(std::span<const TaskId> tasks, std::vector<TaskId>& outer) const {
  std::copy_if(tasks.begin(), tasks.end(), std::back_inserter(outer),
               [&](TaskId task) { return node_->engine().task(task).state != TaskState::kDone; });
}

void RunContext::wait_scope(std::uint32_t scope) {
  check_alive();
  auto empty = [&] { return node_->engine().scope_live(scope) == 0; };
  wait_announced(node_->language(), node_->env(),
                 [&](MonotonicNs until) { return node_->driver().wait_until(empty, until); });
  bool within = false;
  for (const OpenScope& open : scopes_) {
    within = within || open.id == scope;
    if (!within) continue;
    for (const TaskId task : open.tasks) wait_task(task);
  }
}

// --- handles
// ------------------------------------------------------------------------------------------

void RunContext::wait_task(TaskId task) {
  static_cast<void>(wait_task_until(task, 0));
}

bool RunContext::wait_task_until(TaskId task, MonotonicNs deadline_ns) {
  check_alive();
  TaskView view;
  auto ended = [&] {
    view = node_->engine().task(task);
    return view.state >= TaskState::kDone;
  };
  if (!node_->driver().wait_until(ended, deadline_ns)) return false;
  if (view.state == TaskState::kDone) return true;
  thrown_.push_back(view.status.shared_info());
  throw_error(view.status.shared_info());
}

bool RunContext::task_done(TaskId task) {
  // pairs with retire(): everything of an ended run is done
  if (!alive_.load(std::memory_order_acquire)) return true;
  bool done = false;
  auto input = [&](MonotonicNs now) {
    node_->poll(now);
    done = node_->engine().task(task).state >= TaskState::kDone;
  };
  node_->driver().apply(input);
  return done;
}

std::vector<std::byte> RunContext::task_result(TaskId task) {
  wait_task(task);
  std::vector<std::byte> bytes;
  auto input = [&](MonotonicNs) {
    const auto view = node_->engine().task(task).result;
    bytes.assign(view.begin(), view.end());
  };
  node_->driver().apply(input);
  return bytes;
}

}  // namespace echelon::detail
