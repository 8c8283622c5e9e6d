// SPDX-License-Identifier: Apache-2.0
//
// Worker: callables that are registered while the tree runs.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "api/chip_image_state.h"
#include "api/named_callables.h"
#include "api/names.h"
#include "api/shipped_callable.h"
#include "api/throw_status.h"
#include "api/worker_state.h"

namespace echelon {

using detail::throw_bad_argument;
using detail::throw_new;

namespace {

std::string call_of(RegisteredKind kind, std::string_view name) {
  return fmt::format("register_{}(\"{}\")", to_string(kind), name);
}

std::shared_ptr<const Payload> text_payload(std::string_view text) {
  return Payload::small(std::as_bytes(std::span(text)));
}

void check_text(RegisteredKind kind, std::string_view name) {
  if (detail::has_control_characters(name)) {
    throw_bad_argument(
        fmt::format("register_{}: {}", to_string(kind), detail::control_characters_refusal(name)));
  }
  if (!name.empty() && name.size() <= kCallableNameBytesMax) return;
  throw_bad_argument(fmt::format("register_{}: a name of {} bytes; 1 to {} are possible",
                                 to_string(kind), name.size(), kCallableNameBytesMax));
}

Reason reason_of(AnswerOutcome outcome) {
  return outcome == AnswerOutcome::kReady ? Reason::kNone : Reason::kRegistration;
}

Code code_of(AnswerOutcome outcome) {
  switch (outcome) {
    case AnswerOutcome::kReady:
      return Code::kOk;
    case AnswerOutcome::kRefused:
      return Code::kAborted;
    case AnswerOutcome::kSilent:
      return Code::kDeadlineExceeded;
    case AnswerOutcome::kDied:
      return Code::kUnavailable;
  }
  return Code::kUnknown;
}

ErrorInfo info_of(const ChildAnswer& answer, const std::string& callable) {
  ErrorInfo info;
  info.code = code_of(answer.outcome);
  info.reason = reason_of(answer.outcome);
  info.path = answer.path;
  info.pid = answer.pid;
  info.callable = callable;
  info.message = answer.message;
  info.traceback = answer.traceback;
  return info;
}

std::string why_nobody(const SubtreeAnswer& answer) {
  for (const ChildAnswer& child : answer.children) {
    if (!child.message.empty()) return fmt::format("{} says that {}", child.path, child.message);
  }
  return "every process that could is dead";
}

/// What register_*() throws where not all could: path, pid and traceback are those of the first
/// that could not; those that could not come first.
ErrorInfo failure_of(const SubtreeAnswer& answer, const std::string& call,
                     const std::string& callable) {
  ErrorInfo info;
  info.reason = Reason::kRegistration;
  info.code = Code::kFailedPrecondition;
  std::size_t failed = 0;
  std::string first;
  for (const bool ready : {false, true}) {
    for (const ChildAnswer& child : answer.children) {
      if ((child.outcome == AnswerOutcome::kReady) != ready) continue;
      info.others.push_back(info_of(child, callable));
      if (ready) continue;
      if (failed++ != 0) continue;
      first = fmt::format("{}: {}", child.path, child.message);
      info.path = child.path;
      info.pid = child.pid;
      info.traceback = child.traceback;
    }
  }
  info.callable = callable;
  if (failed == 0 && answer.runners == 0) {
    info.others.clear();
    info.message = fmt::format("{}: nobody can run it, as {}", call, why_nobody(answer));
    return info;
  }
  info.message = fmt::format(
      "{}: {} of {} processes could not take it, and it is registered in "
      "none; {}",
      call, failed, answer.children.size() + answer.left_out, first);
  return info;
}

std::vector<std::string> silent_in(const SubtreeAnswer& answer) {
  std::vector<std::string> paths;
  for (const ChildAnswer& child : answer.children) {
    if (child.outcome == AnswerOutcome::kSilent) paths.push_back(child.path);
  }
  return paths;
}

void add_to_state(NodeInfo& at, const std::string& path, const std::string& text) {
  if (at.path == path) at.state += text;
  for (NodeInfo& child : at.children) add_to_state(child, path, text);
}

Result<std::vector<std::byte>> read_library(const std::string& path) {
  const auto refuse = [&](std::string_view why) {
    return Status::error(Code::kInvalidArgument, Reason::kImage,
                         fmt::format("register_library: {} {}", path, why));
  };
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return refuse("is a folder");
  std::ifstream file(path, std::ios::binary);
  if (!file) return refuse("cannot be read");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!text.starts_with("\x7f"
                        "ELF")) {
    return refuse("is no shared object");
  }
  const auto bytes = std::as_bytes(std::span(text));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

std::string file_name(const std::string& path) {
  return path.substr(path.find_last_of('/') + 1);
}

/// To be inherited; on another host it is found by this name, too.
detail::Callable named_callable(TaskKind kind, std::string_view name) {
  auto named = detail::value_or_throw(detail::find_named(kind, name));
  detail::Callable callable;
  callable.kind = kind;
  callable.name = name;
  callable.library = std::move(named.library);
  callable.sub = std::move(named.sub);
  callable.orch = std::move(named.orch);
  callable.form = embedding::Form::kName;
  callable.payload = text_payload(name);
  return callable;
}

}  // namespace

// --- what is checked before anything is sent
// --------------------------------------------------------

bool Worker::State::owns(std::uint64_t owner) const {
  return registrations.owner() == owner ||
         std::any_of(children.begin(), children.end(),
                     [owner](const auto& child) { return child->owns(owner); });
}

void Worker::State::check_can_run(RegisteredKind kind, const std::string& call) const {
  if (options.level == 2 && kind != RegisteredKind::kChip) {
    throw_new(Code::kFailedPrecondition, Reason::kWrongLevel,
              fmt::format("{}: a level 2 Worker is a chip alone and runs chip kernels only", call));
  }
  const bool some = kind == RegisteredKind::kChip   ? has_chips()
                    : kind == RegisteredKind::kSub  ? has_subs()
                    : kind == RegisteredKind::kOrch ? !children.empty()
                                                    : has_subs() || !children.empty();
  if (some) return;
  const char* who = kind == RegisteredKind::kChip  ? "chips"
                    : kind == RegisteredKind::kSub ? "sub-workers"
                                                   : "Workers below it";
  throw_new(Code::kInvalidArgument, Reason::kNoEligibleChild,
            fmt::format("{} on {}: nobody can run it, as {} has no {}{}", call, options.name,
                        options.name, who,
                        kind == RegisteredKind::kLibrary ? " and no sub-workers" : ""));
}

void Worker::State::check_free_name(const Shipping& what, const std::string& call) const {
  if (!what.name_given || what.kind == RegisteredKind::kLibrary) return;
  const TaskKind kind = detail::task_kind(what.kind);
  const auto& all = registrations.all();
  const bool taken = std::any_of(all.begin(), all.end(), [&](const detail::Callable& other) {
    return other.kind == kind && other.name == what.name;
  });
  if (!taken) return;
  throw_new(Code::kAlreadyExists, Reason::kBadArgument,
            fmt::format("{}: {} was given a callable of this name before start(); choose another",
                        call, options.name));
}

std::shared_ptr<Worker::State> Worker::State::root(std::vector<std::uint32_t>& route) {
  std::shared_ptr<State> at = shared_from_this();
  while (at->has_parent) {
    const std::shared_ptr<State> above = at->parent.lock();
    if (above == nullptr) {
      throw_new(Code::kFailedPrecondition, Reason::kWrongState,
                fmt::format("the Worker above {} is gone", at->options.name));
    }
    const auto& siblings = above->children;
    const auto place = std::find(siblings.begin(), siblings.end(), at) - siblings.begin();
    route.insert(route.begin(), static_cast<std::uint32_t>(above->sub_worker_count()) +
                                    static_cast<std::uint32_t>(place));
    at = above;
  }
  return at;
}

// --- registering
// -----------------------------------------------------------------------------------

detail::CallableRef Worker::State::ship(const Shipping& what) {
  const std::string call = call_of(what.kind, what.name);
  check_here(call.c_str());
  check_text(what.kind, what.name);
  if (what.timeout.count() <= 0) {
    throw_bad_argument(
        fmt::format("{}: a timeout of {} ms; it must be more than 0", call, what.timeout.count()));
  }
  check_can_run(what.kind, call);
  check_free_name(what, call);
  RegisterRequest request;
  const std::shared_ptr<State> top = root(request.route);
  const auto top_node = top->running_or_null();
  if (top_node == nullptr) {
    throw_new(
        Code::kFailedPrecondition, Reason::kWrongState,
        fmt::format("{}: the tree of {} does not run; start() it first (what is loaded before "
                    "start() is inherited)",
                    call, top->options.name));
  }
  request.kind = what.kind;
  request.form = what.form;
  request.owner = registrations.owner();
  request.name = what.name;
  request.payload = what.payload;
  request.digest = sha256(what.payload->bytes());
  const auto claim = detail::value_or_throw(
      top->late->claim({request.owner, what.kind, what.name, what.name_given,
                        detail::identity_of(what.kind, what.form, request.digest)},
                       top->check_wait()));
  if (claim.known) return claim.ref;
  request.slot = CallableSlot{claim.ref.number};
  request.serial = claim.ref.serial;
  const auto budget = std::chrono::nanoseconds(what.timeout).count();
  request.deadline_ns = top_node->env().now_ns() + static_cast<MonotonicNs>(budget);
  const auto take_back = [&](std::vector<std::string> silent) {
    top->late->settle(claim.ref, false, std::move(silent), top_node->env().now_ns());
    const auto forget = [book = top->late, ref = claim.ref] { book->forget(ref); };
    top_node->registrar().unregister_here(request.slot, request.serial, forget);
  };
  SubtreeAnswer answer;
  try {
    answer = top_node->registrar().register_here(request);
  } catch (...) {  // the caller gave up
    take_back(top_node->registrar().unconfirmed(request.serial));
    throw;
  }
  if (answer.runners == 0) answer.ok = false;  // who was dead before was not asked
  if (answer.ok) {
    top->late->settle(claim.ref, true, {}, top_node->env().now_ns());
    return claim.ref;
  }
  take_back(silent_in(answer));
  ErrorInfo info = failure_of(answer, call, what.name);
  info.message += top->doubts_text();
  throw_error(std::make_shared<const ErrorInfo>(std::move(info)));
}

detail::CallableRef Worker::State::ship_named(RegisteredKind kind, std::string_view name,
                                              std::chrono::milliseconds timeout) {
  check_text(kind, name);
  Shipping what;
  what.kind = kind;
  what.name = name;
  what.payload = text_payload(name);
  what.timeout = timeout;
  return ship(what);
}

void Worker::State::unregister(const detail::CallableRef& ref) {
  check_here("unregister");
  if (ref.owner == 0) throw_bad_argument("unregister: the handle is empty");
  if (ref.owner != registrations.owner()) {
    throw_new(Code::kInvalidArgument, Reason::kForeignHandle,
              fmt::format("unregister: the handle was not registered on {}; unregister it where it "
                          "was registered",
                          options.name));
  }
  if (ref.serial == 0) {
    throw_bad_argument(
        "unregister: the handle was registered before start(), and its callable is "
        "part of every process of the tree until close()");
  }
  std::vector<std::uint32_t> route;
  const std::shared_ptr<State> top = root(route);
  const auto top_node = top->running_or_null();
  const auto dropped = detail::value_or_throw(top->late->drop(ref, SystemEnv().now_ns()));
  if (!dropped.last || top_node == nullptr) return;
  top_node->registrar().unregister_here(CallableSlot{ref.number}, ref.serial,
                                        [book = top->late, ref] { book->forget(ref); });
}

// --- what is in doubt
// ------------------------------------------------------------------------------

std::string Worker::State::doubts_text() {
  const auto here = running_or_null();
  if (here == nullptr) return "";
  std::string text;
  for (const auto& doubt : late->doubts(here->env().now_ns())) {
    std::vector<std::string> paths = here->registrar().unconfirmed(doubt.ref.serial);
    if (!doubt.silent.empty()) paths = doubt.silent;
    if (paths.empty()) continue;
    text += fmt::format(
        "; in doubt: {} has not confirmed that it forgot \"{}\", whose slot {} is "
        "not given out again",
        fmt::join(paths, ", "), doubt.name, doubt.ref.number - kFirstLateSlot);
  }
  return text;
}

void Worker::State::add_doubts(NodeInfo& tree) {
  const auto here = running_or_null();
  if (here == nullptr) return;
  for (const auto& doubt : late->doubts(here->env().now_ns())) {
    std::vector<std::string> paths = here->registrar().unconfirmed(doubt.ref.serial);
    if (!doubt.silent.empty()) paths = doubt.silent;
    for (const std::string& path : paths) {
      add_to_state(tree, path,
                   fmt::format(", in doubt about slot {} ({})", doubt.ref.number - kFirstLateSlot,
                               doubt.name));
    }
  }
}

// --- the public calls
// ------------------------------------------------------------------------------

SubHandle Worker::register_sub(std::string_view name, RegisterOptions options) {
  if (!state().is_frozen()) {
    check_text(RegisteredKind::kSub, name);
    return SubHandle(state().add(named_callable(TaskKind::kSub, name)));
  }
  return SubHandle(state().ship_named(RegisteredKind::kSub, name, options.timeout));
}

OrchHandle Worker::register_orch(std::string_view name, RegisterOptions options) {
  if (!state().is_frozen()) {
    check_text(RegisteredKind::kOrch, name);
    return OrchHandle(state().add(named_callable(TaskKind::kOrch, name)));
  }
  return OrchHandle(state().ship_named(RegisteredKind::kOrch, name, options.timeout));
}

ChipHandle Worker::register_chip(std::string_view name, const ChipImage& image,
                                 RegisterOptions options) {
  if (!state().is_frozen()) {
    detail::Callable callable;
    callable.kind = TaskKind::kChip;
    callable.name = name;
    callable.image = image.state();
    callable.form = embedding::Form::kImage;
    return ChipHandle(state().add(std::move(callable)));
  }
  const KernelImage& kernel = image.state()->image;
  State::Shipping what;
  what.kind = RegisteredKind::kChip;
  what.form = embedding::Form::kImage;
  what.name = name;
  what.payload = detail::value_or_throw(Payload::open(
      detail::value_or_throw(duplicate_fd(kernel.descriptor())), kernel.file_bytes()));
  what.timeout = options.timeout;
  return ChipHandle(state().ship(what));
}

LibraryHandle Worker::register_library(const std::string& path, RegisterOptions options) {
  const auto bytes = detail::value_or_throw(read_library(path));
  if (!state().is_frozen()) return LibraryHandle(state().add_library(file_name(path), bytes));
  State::Shipping what;
  what.kind = RegisteredKind::kLibrary;
  what.form = embedding::Form::kLibrary;
  what.name = file_name(path);
  what.name_given = false;
  what.payload = detail::value_or_throw(Payload::make_file(bytes, MemfdUse::kExecutable));
  what.timeout = options.timeout;
  return LibraryHandle(state().ship(what));
}

void Worker::unregister_ref(const detail::CallableRef& ref) {
  state().unregister(ref);
}

detail::CallableRef Worker::ship(bool orch, const embedding::Shipment& shipment,
                                 std::chrono::milliseconds timeout) {
  using embedding::Form;
  if (shipment.form != Form::kImportPath && shipment.form != Form::kPickle) {
    throw_bad_argument("ship: the form is neither an import path nor serialised bytes");
  }
  State::Shipping what;
  what.kind = orch ? RegisteredKind::kOrch : RegisteredKind::kSub;
  what.form = shipment.form;
  what.name = shipment.name;
  what.name_given = shipment.name_given;
  what.payload = detail::value_or_throw(Payload::make(shipment.payload));
  what.timeout = timeout;
  return state().ship(what);
}

detail::CallableRef Worker::inherit(bool orch, embedding::Inherited function) {
  if (orch ? !function.orch : !function.sub) {
    throw_bad_argument("inherit: there is no function of this kind");
  }
  detail::Callable callable;
  callable.kind = orch ? TaskKind::kOrch : TaskKind::kSub;
  callable.name = function.name;
  callable.sub = std::move(function.sub);
  callable.orch = std::move(function.orch);
  callable.pack = std::move(function.pack);
  return state().add(std::move(callable));
}

bool Worker::in_running_tree() const {
  state().check_here("register");
  return state().is_frozen();
}

bool Worker::in_tree(const detail::CallableRef& ref) const {
  state().check_here("register");
  std::vector<std::uint32_t> route;
  return state().root(route)->owns(ref.owner);
}

bool Worker::is_registered(const detail::CallableRef& ref) const {
  state().check_here("is_registered");
  std::vector<std::uint32_t> route;
  return state().root(route)->late->holds(ref);
}

SubHandle embedding::inherit_sub(Worker& worker, Inherited function) {
  return SubHandle(worker.inherit(/*orch=*/false, std::move(function)));
}

OrchHandle embedding::inherit_orch(Worker& worker, Inherited function) {
  return OrchHandle(worker.inherit(/*orch=*/true, std::move(function)));
}

SubHandle embedding::ship_sub(Worker& worker, const Shipment& shipment,
                              std::chrono::milliseconds timeout) {
  return SubHandle(worker.ship(/*orch=*/false, shipment, timeout));
}

OrchHandle embedding::ship_orch(Worker& worker, const Shipment& shipment,
                                std::chrono::milliseconds timeout) {
  return OrchHandle(worker.ship(/*orch=*/true, shipment, timeout));
}

}  // namespace echelon
