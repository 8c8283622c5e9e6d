// SPDX-License-Identifier: Apache-2.0
//
// How a Node's children begin and end.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "api/chip_image_state.h"
#include "api/node.h"
#include "api/node_child.h"
#include "api/wait_announced.h"
#include "chip/chip_start.h"
#include "chip/driver_loader.h"
#include "chip/image_push.h"
#include "process/child_connection.h"
#include "process/liveness.h"
#include "remote/lane_sleeper.h"
#include "remote/remote_endpoint.h"

namespace echelon::detail {
namespace {

using std::chrono::milliseconds;

/// What a level leaves its children between being asked and being killed: less than the level above
/// leaves it, so that each ends what is below it before it is ended itself. L6: 2.4 s.
milliseconds kill_after(int level) {
  return milliseconds(600) * std::max(level - 2, 1);
}

/// For reaping after the kill; with kill_after(6) less than the 5 s of close().
constexpr milliseconds kReapBudget{1500};

/// For what children printed last, where the program's own output is held up.
constexpr milliseconds kPrintBudget{500};

MonotonicNs ns(std::chrono::nanoseconds duration) {
  return static_cast<MonotonicNs>(duration.count());
}

/// For errors; empty where it is not known.
std::string machine_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

}  // namespace

Status Node::start(const std::function<void(std::string_view)>& progress,
                   const std::function<void()>& check_wait) {
  MapOptions unforked;
  unforked.dont_fork = true;
  ECHELON_ASSIGN_OR_RETURN(doorbell_segment_,
                           Segment::create("echelon-doorbell", sizeof(DoorbellData), unforked));
  doorbell_ = Doorbell(*reinterpret_cast<DoorbellData*>(doorbell_segment_.data()));
  const bool over_lanes = std::any_of(options_.children.begin(), options_.children.end(),
                                      [](const auto& plan) { return plan.remote != nullptr; });
  driver_ = std::make_unique<Driver>(*this, doorbell_, env_, over_lanes ? kLaneSpin : SpinLimits{});
  start_until_ns_ = env_.now_ns() + ns(options_.start_deadline);
  const auto undo = [this] {
    closing_.store(true, std::memory_order_relaxed);
    if (spawner_ != nullptr) end_children({});
  };
  Status status = spawn_children();
  try {
    // After the fork: a transport has threads.
    if (status.ok() && has_remotes_) status = open_sessions();
    if (status.ok()) status = await_ready(progress, check_wait);
  } catch (...) {
    undo();
    throw;
  }
  if (!status.ok()) {
    undo();
    return status;
  }
  for (const auto& child : children_) {
    const bool remote = child->remote != nullptr;
    const std::uint32_t window = remote ? kRemoteWindow : std::uint32_t{kWindowMax};
    engine_.add_child({child->plan.name, child->plan.kind, window}, *child->endpoint);
    if (remote) memory_.add_remote(*child->remote);
  }
  started_ns_ = env_.now_ns();
  open_registrar();
  keeper_ = std::make_unique<Keeper>(*driver_, doorbell_, *this, env_);
  keeper_->start();
  return {};
}

void Node::open_registrar() {
  late_.when_drained(
      [this](CallableSlot, std::uint64_t serial) { registrar_.note_drained(serial); });
  Registrar::Options options;
  options.path = options_.path;
  options.language = language();
  options.doorbell = &doorbell_;
  for (const auto& child : children_) options.children.push_back(child->endpoint.get());
  registrar_.open(std::move(options));
}

Status Node::spawn_children() {
  SpawnerOptions options;
  options.uid = memory_.own().pool->issuer();
  options.name = options_.name;
  options.path = options_.path;
  auto main = [this](ChildBoot boot) {
    const std::size_t index = boot.index.value;
    return options_.children[index].main(std::move(boot));
  };
  options.sub_main = main;
  options.worker_main = main;
  if (child_count(ChildKind::kChip) != 0) {
    ECHELON_ASSIGN_OR_RETURN(options.chip_executable, find_chip_executable());
  }
  options.doorbell_fd = doorbell_segment_.fd();
  if (const embedding::Language* language = options_.language.get()) {
    options.fork_hooks = {language->before_fork, language->after_fork_in_parent,
                          language->after_fork_in_child};
  }
  ECHELON_ASSIGN_OR_RETURN(spawner_, Spawner::fork(std::move(options)));
  for (std::size_t i = 0; i < options_.children.size(); ++i) {
    ECHELON_RETURN_IF_ERROR(make_child(i));
  }
  // Workers first: they have children to start themselves, while the others are being made.
  for (const bool workers : {true, false}) {
    for (const auto& child : children_) {
      if ((child->plan.kind == ChildKind::kWorker) != workers || child->remote != nullptr) continue;
      ECHELON_RETURN_IF_ERROR(spawn_child(*child));
    }
  }
  return {};
}

Status Node::make_child(std::size_t index) {
  const ChildPlan& plan = options_.children[index];
  if (plan.remote != nullptr) return make_remote_child(index);
  auto child = std::make_unique<Child>();
  child->plan = plan;
  child->uid = Uid{env_.random_nonzero()};
  child->path = options_.path + "/" + plan.name;

  LocalEndpointOptions options;
  options.index = ChildIndex{static_cast<std::uint32_t>(index)};
  options.kind = plan.kind;
  options.path = child->path;
  options.host = machine_name();
  options.window = kWindowMax;
  options.unresponsive_after = options_.unresponsive_after;
  ECHELON_ASSIGN_OR_RETURN(ChannelParent channel,
                           ChannelParent::create(child->uid, channel_build_id()));
  ECHELON_RETURN_IF_ERROR(
      init_liveness(*reinterpret_cast<LivenessData*>(channel.liveness().data())));
  ECHELON_ASSIGN_OR_RETURN(FdPair sockets, create_socketpair());
  auto edge = std::make_unique<TreeEdge>(std::move(sockets.first), memory_.own().pool->issuer(),
                                         memory_.pools());
  auto local = std::make_unique<LocalEndpoint>(options, std::move(channel), std::move(edge),
                                               *spawner_, env_);
  child->local = local.get();
  child->endpoint = std::move(local);
  child->edge_end = std::move(sockets.second);
  if (plan.kind == ChildKind::kChip) {
    memory_.add_chip(options.index, child->uid, child->path, weak_from_this());
  }
  children_.push_back(std::move(child));
  return {};
}

Status Node::spawn_child(Child& child) {
  const bool chip = child.plan.kind == ChildKind::kChip;
  ChildSpec spec;
  spec.index = child.local->options().index;
  spec.uid = child.uid;
  spec.kind = child.plan.kind;
  spec.path = child.path;
  spec.name = child.plan.name;
  if (chip) {
    ECHELON_ASSIGN_OR_RETURN(spec.arguments, chip_start(child.plan.chip));
  }
  const ChildFds fds{child.local->channel().fd(), child.edge_end.get(), doorbell_segment_.fd()};
  ECHELON_RETURN_IF_ERROR(spawner_->spawn(spec, fds));
  // From here the child alone holds its end, so that a push to a dead one fails instead of waiting.
  child.edge_end.reset();
  // A chip that dies before it has taken them says why itself: await_ready() hears it.
  if (chip) (void)push_images(child).ok();
  return {};
}

Result<std::vector<std::string>> Node::chip_start(const ChipSpec& chip) const {
  if (chip.device < 0) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("chip device {}: devices are counted from 0", chip.device));
  }
  ChipStart start;
  start.chip.driver = chip.driver;
  start.chip.device = static_cast<std::uint32_t>(chip.device);
  for (std::uint32_t slot = 1; slot <= callables().size(); ++slot) {
    if (callables().at(CallableSlot{slot})->kind == TaskKind::kChip) ++start.image_count;
  }
  return chip_arguments(start);
}

Status Node::push_images(Child& child) {
  for (std::uint32_t slot = 1; slot <= callables().size(); ++slot) {
    const Callable& callable = *callables().at(CallableSlot{slot});
    if (callable.kind != TaskKind::kChip) continue;
    ECHELON_RETURN_IF_ERROR(
        push_image(child.local->edge().fd(), CallableSlot{slot}, callable.image->image, true));
  }
  return {};
}

bool Node::all_ready(Status& failure, std::string& waiting_for) const {
  bool ready = true;
  for (const auto& child : children_) {
    const StartProgress progress = child->endpoint->start_progress();
    if (progress.state == StartState::kFailed) {
      failure = progress.error;
      return false;
    }
    if (progress.state == StartState::kReady) continue;
    if (ready) {
      waiting_for = fmt::format("{}: {}", child->plan.name,
                                progress.phase.empty() ? "being made" : progress.phase);
    }
    ready = false;
  }
  return ready;
}

Status Node::await_ready(const std::function<void(std::string_view)>& progress,
                         const std::function<void()>& check_wait) {
  const MonotonicNs deadline = start_until_ns_;
  MonotonicNs ask_ns = env_.now_ns() + kWaitSliceNs;
  std::string told;
  for (;;) {
    const FutexWaiter bell = doorbell_.arm(DoorbellSleeper::kKeeper);
    poll_spawner();
    Status failure;
    std::string waiting_for;
    if (all_ready(failure, waiting_for)) {
      doorbell_.disarm();
      return {};
    }
    ECHELON_RETURN_IF_ERROR(failure);
    ECHELON_RETURN_IF_ERROR(refusal());
    if (progress && waiting_for != told) progress(told = waiting_for);
    const MonotonicNs now = env_.now_ns();
    if (check_wait && now >= ask_ns) {
      check_wait();
      ask_ns = now + kWaitSliceNs;
    }
    if (now >= deadline) {
      std::vector<TreeChild*> endpoints;
      for (const auto& child : children_) endpoints.push_back(child->endpoint.get());
      return not_ready_error(endpoints, options_.start_deadline);
    }
    // Those that are ready already have to be heard of, and to hear of us.
    MonotonicNs until = check_wait ? std::min(deadline, ask_ns) : deadline;
    for (const auto& child : children_) {
      if (child->remote == nullptr) continue;
      const MonotonicNs again = child->remote->tick(now);
      if (again != 0) until = std::min(until, again);
    }
    (void)futex_wait(*bell.word, bell.expected, until);
  }
}

void Node::close() {
  if (closing_.exchange(true, std::memory_order_relaxed)) return;
  if (driver_ == nullptr) return;
  if (keeper_ != nullptr) keeper_->stop();
  registrar_.close();
  const Status why = Status::error(Code::kCancelled, Reason::kCancelled,
                                   fmt::format("{} was closed", options_.path));
  end_runs(why);
  if (spawner_ != nullptr) end_children(why);
  driver_->look();
}

void Node::end_runs(const Status& why) {
  auto input = [&](MonotonicNs now) {
    std::vector<RunId> ids;  // first: a state may be gone as soon as its run has ended
    for (const RunState* state : runs_) ids.push_back(state->run());
    for (const RunId run : ids) engine_.cancel_run(run, why, now);
  };
  driver_->apply(input);
}

bool Node::all_gone() const {
  return std::all_of(children_.begin(), children_.end(),
                     [](const auto& child) { return child->endpoint->gone(); });
}

void Node::end_children(const Status& why) {
  for (const auto& child : children_) child->endpoint->request_shutdown(why);
  const milliseconds patience = kill_after(options_.level);
  spawner_->begin_shutdown(patience);
  const MonotonicNs deadline = env_.now_ns() + ns(patience) + ns(kReapBudget);
  for (const auto& child : children_) {
    if (child->link != nullptr) child->link->end(why);
  }
  {
    const std::lock_guard lock(spawner_mutex_);
    (void)spawner_->reap_until(deadline, *this).ok();
    relay_.drain_until(env_.now_ns() + ns(kPrintBudget), env_);
  }
  for (const auto& child : children_) {
    if (child->link != nullptr) child->link->end_until(deadline);
  }
  // What they held ends now; nothing more can be heard of them.
  const Status end = why.ok() ? Status::error(Code::kCancelled, Reason::kCancelled,
                                              fmt::format("{} ends", options_.path))
                              : why;
  auto give_up = [&](MonotonicNs) {
    for (const auto& child : children_) {
      if (child->remote != nullptr) child->remote->terminate(end);
    }
  };
  driver_->apply(give_up);
  // Whoever drives meanwhile looks again; if nobody does, this does.
  driver_->kick();
  driver_->look();
}

}  // namespace echelon::detail
