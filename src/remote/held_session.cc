// SPDX-License-Identifier: Apache-2.0
#include "remote/held_session.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "remote/session_boot.h"

namespace echelon {
namespace {

/// Phases are not rung for: they are looked at so often, while there is one to come.
constexpr MonotonicNs kLookNs = 10'000'000;
/// What a process that has said why it cannot start may still take to end.
constexpr MonotonicNs kLastWordsNs = 1'000'000'000;

MonotonicNs ns(std::chrono::nanoseconds duration) {
  return static_cast<MonotonicNs>(duration.count());
}

/// A session's process that is gone, however, leaves no socket of its lanes behind.
void remove_socket(std::string_view address) {
  constexpr std::string_view kUnix = "unix:";
  if (!address.starts_with(kUnix)) return;
  const std::string path(address.substr(kUnix.size()));
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) ::unlink(path.c_str());
}

Status not_ended() {
  return Status::error(Code::kUnavailable, Reason::kChildDied,
                       "its process said that it had failed, did not say why, and went on");
}

}  // namespace

HeldSession::HeldSession(HeldSessionOptions options, std::unique_ptr<LocalEndpoint> endpoint,
                         std::shared_ptr<SessionTicket> ticket, MonotonicNs now)
    : options_(std::move(options)),
      endpoint_(std::move(endpoint)),
      ticket_(std::move(ticket)),
      opened_ns_(now) {}

void HeldSession::ask_end(const Status& told) {
  const std::lock_guard lock(mutex_);
  if (!asked_.has_value()) asked_ = told;
}

MonotonicNs HeldSession::step(MonotonicNs now) {
  MonotonicNs next = endpoint_->tick(now);
  endpoint_->poll(*this);
  take_request(now);
  if (stage_ == Stage::kStarting) watch_start(now);
  if (stage_ == Stage::kReady && endpoint_->down()) {
    tell_end(endpoint_->down_status());
    begin_end({}, now);
  }
  if (stage_ == Stage::kEnding && !killed_ && now >= kill_at_ns_) {
    killed_ = true;
    endpoint_->terminate(why_.ok() ? not_ended() : why_);
    endpoint_->poll(*this);
  }
  if (endpoint_->gone()) {
    remove_socket(std::exchange(lanes_at_, {}));
    tell_end(why_.ok() ? endpoint_->down_status() : why_);
  }
  const bool waits_for_little = stage_ != Stage::kReady && !over();
  if (waits_for_little && (next == 0 || next > now + kLookNs)) next = now + kLookNs;
  return next;
}

void HeldSession::begin_end(const Status& why, MonotonicNs kill_at) {
  stage_ = Stage::kEnding;
  why_ = why;
  kill_at_ns_ = kill_at;
}

void HeldSession::take_request(MonotonicNs now) {
  std::optional<Status> asked;
  {
    const std::lock_guard lock(mutex_);
    asked = std::exchange(asked_, std::nullopt);
  }
  if (!asked.has_value() || stage_ == Stage::kEnding) return;
  if (stage_ == Stage::kStarting) return begin_end(*asked, now);
  endpoint_->request_shutdown(*asked);
  begin_end(*asked, now + ns(options_.end_patience));
}

void HeldSession::watch_start(MonotonicNs now) {
  StartProgress progress = endpoint_->start_progress();
  if (progress.state == StartState::kReady) {
    const Status ready = take_ready(now);
    if (!ready.ok()) begin_end(ready, now);
    return;
  }
  if (progress.state == StartState::kFailed) {
    // Its own words where it has left any. How a process died is known in full once it is reaped.
    const bool died = progress.error.reason() == Reason::kChildDied;
    return begin_end(died ? Status() : progress.error, now + kLastWordsNs);
  }
  if (endpoint_->down()) return begin_end({}, now + kLastWordsNs);
  if (progress.phase != phase_) {
    phase_ = std::move(progress.phase);
    if (!phase_.empty()) ticket_->phase(phase_);
  }
  if (now >= opened_ns_ + ns(options_.start_deadline)) {
    TreeChild* const child = endpoint_.get();
    ErrorInfo info = not_ready_error({&child, 1}, options_.start_deadline).info();
    info.host = options_.host;
    begin_end(Status(std::move(info)), now);
  }
}

Status HeldSession::take_ready(MonotonicNs now) {
  auto said = decode_announcement(endpoint_->take_announcement());
  if (!said.ok()) {
    ErrorInfo info = said.status().info();
    info.path = endpoint_->path();
    info.pid = endpoint_->pid();
    info.host = options_.host;
    return Status(std::move(info));
  }
  said->session = options_.number;
  said->pid = endpoint_->pid();
  said->host = options_.host;
  said->memory_bytes_max = options_.memory_bytes;
  lanes_at_ = said->address;
  stage_ = Stage::kReady;
  const double seconds = static_cast<double>(now - opened_ns_) / 1e9;
  options_.log(fmt::format("ready: pid {}, {:.3f} s", said->pid, seconds));
  ticket_->ready(*said);
  return {};
}

void HeldSession::give_up(const Status& why) {
  tell_end(why_.ok() ? why : why_);
}

void HeldSession::tell_end(const Status& why) {
  if (ticket_ == nullptr) return;
  options_.log(fmt::format("ended: {}", why.ok() ? std::string("well") : describe(why.info())));
  std::exchange(ticket_, nullptr)->ended(why);
}

}  // namespace echelon
