// SPDX-License-Identifier: Apache-2.0
#include "remote/remote_start.h"

#include <signal.h>

#include <utility>

namespace echelon {
namespace {

/// What is known of where it happened, where the error does not say it itself.
Status located(const Status& status, const std::string& path) {
  ErrorInfo info = status.info();
  if (info.path.empty()) info.path = path;
  return Status(std::move(info));
}

Status session_ended() {
  return Status::error(Code::kUnavailable, Reason::kChildDied, "the session was ended");
}

}  // namespace

SessionLink::~SessionLink() {
  end(session_ended());
  if (thread_.joinable()) thread_.join();
  // Not under the lock: it waits for events, which take it.
  call_.reset();
}

void SessionLink::open(RemoteTransport& transport, SessionOrder order) {
  {
    const std::lock_guard lock(mutex_);
    opened_ = true;
  }
  // The thread inherits a full mask, so that signals go to the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, &transport, order = std::move(order)] { run(transport, order); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void SessionLink::run(RemoteTransport& transport, const SessionOrder& order) {
  Status status = ask(transport, order);
  SessionReady ready;
  if (status.ok()) {
    if (!await_ready(ready)) return;
    status = connect(transport, order, ready);
  }
  if (status.ok()) return;
  status = located(status, endpoint_.path());
  endpoint_.note_ended(status);
  end(status);
}

Status SessionLink::ask(RemoteTransport& transport, const SessionOrder& order) {
  endpoint_.note_phase("asking the daemon at " + order.daemon.address);
  auto opened = transport.open_session(order.daemon, order.manifest, *this);
  std::shared_ptr<SessionCall> call;
  std::optional<std::string> why;
  {
    const std::lock_guard lock(mutex_);
    if (opened.ok()) call = call_ = std::move(opened).value();
    ended_ = ended_ || !opened.ok();
    why = end_;
  }
  if (call != nullptr && why) call->end(*why);
  changed_.notify_all();
  return opened.status();
}

bool SessionLink::await_ready(SessionReady& ready) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ready_.has_value() || ended_ || end_.has_value(); });
  if (!ready_ || ended_ || end_) return false;
  ready = *ready_;
  return true;
}

Status SessionLink::connect(RemoteTransport& transport, const SessionOrder& order,
                            const SessionReady& ready) {
  SystemEnv env;
  const auto budget = static_cast<MonotonicNs>(order.lanes_timeout.count());
  const MonotonicNs deadline = env.now_ns() + budget;
  RemoteLanes lanes;
  for (const LaneRole role : kLaneConnectOrder) {
    if (ending()) return session_ended();
    endpoint_.note_phase("connecting its " + std::string(to_string(role)) + " lane to " +
                         ready.address);
    const MonotonicNs now = env.now_ns();
    LaneConnect where;
    where.address = ready.address;
    where.credentials = order.daemon.credentials;
    where.token = ready.token;
    where.role = role;
    where.silent_max = order.daemon.silent_max;
    where.timeout = std::chrono::nanoseconds(deadline > now ? deadline - now : 1);
    std::unique_ptr<Lane>& lane = role == LaneRole::kHealth ? lanes.health
                                  : role == LaneRole::kTask ? lanes.task
                                                            : lanes.data;
    ECHELON_ASSIGN_OR_RETURN(lane, transport.connect_lane(where, endpoint_.lane_options(role)));
  }
  endpoint_.attach(ready, std::move(lanes));
  return {};
}

bool SessionLink::ending() const {
  const std::lock_guard lock(mutex_);
  return end_.has_value() || ended_;
}

void SessionLink::end(const Status& why) {
  const std::string words = why.ok() ? "ended by its parent" : why.info().message;
  std::shared_ptr<SessionCall> call;
  {
    const std::lock_guard lock(mutex_);
    if (end_) return;
    end_ = words;
    if (!ended_) call = call_;
  }
  if (call != nullptr) call->end(words);  // without the lock: events take it
  changed_.notify_all();
}

bool SessionLink::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_ || !opened_;
}

void SessionLink::end_until(MonotonicNs deadline_ns) {
  std::shared_ptr<SessionCall> call;
  {
    std::unique_lock lock(mutex_);
    const auto until = std::chrono::steady_clock::time_point(
        std::chrono::nanoseconds(static_cast<std::int64_t>(deadline_ns)));
    changed_.wait_until(lock, until, [this] { return ended_ || !opened_; });
    call = std::move(call_);
  }
  call.reset();
  const std::lock_guard lock(mutex_);
  ended_ = true;
}

void SessionLink::on_phase(std::string_view phase) {
  endpoint_.note_phase(phase);
}

void SessionLink::on_ready(const SessionReady& ready) {
  {
    const std::lock_guard lock(mutex_);
    ready_ = ready;
  }
  changed_.notify_all();
}

void SessionLink::on_ended(const Status& why) {
  endpoint_.note_ended(located(why.ok() ? session_ended() : why, endpoint_.path()));
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
}

}  // namespace echelon
