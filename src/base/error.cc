// SPDX-License-Identifier: Apache-2.0
#include <echelon/error.h>
#include <fmt/format.h>

#include <cstring>
#include <iterator>
#include <utility>

#include "base/check.h"

namespace echelon {
namespace {

constexpr std::size_t kOthersShown = 16;

std::string duration_text(std::chrono::nanoseconds time) {
  const double ns = static_cast<double>(time.count());
  if (ns >= 1e9) return fmt::format("{:.3g} s", ns / 1e9);
  if (ns >= 1e6) return fmt::format("{:.3g} ms", ns / 1e6);
  return fmt::format("{:.3g} us", ns / 1e3);
}

std::string where(const ErrorInfo& info) {
  std::string details;
  const auto add = [&](const std::string& text) {
    details += details.empty() ? "" : ", ";
    details += text;
  };
  if (info.pid != 0) add(fmt::format("pid {}", info.pid));
  if (!info.host.empty()) add(fmt::format("host {}", info.host));
  if (!info.callable.empty()) add(fmt::format("callable {}", info.callable));
  if (details.empty()) return info.path;
  return info.path.empty() ? details : fmt::format("{} ({})", info.path, details);
}

std::string what_ended_it(const ErrorInfo& info) {
  if (info.cause == Cause::kSignal && info.signal != 0) {
    const char* name = ::sigabbrev_np(static_cast<int>(info.signal));
    return name != nullptr ? fmt::format("signal {} (SIG{})", info.signal, name)
                           : fmt::format("signal {}", info.signal);
  }
  if (info.cause == Cause::kExit) return fmt::format("exit {}", info.exit_code);
  if (info.cause != Cause::kNone) return std::string(to_string(info.cause));
  if (info.reason != Reason::kNone) return std::string(to_string(info.reason));
  return std::string(to_string(info.code));
}

std::string first_line(const ErrorInfo& info) {
  std::string text = where(info);
  if (!text.empty()) text += ": ";
  if (info.phase != Phase::kNone) {
    text += to_string(info.phase);
    if (info.time_in_phase.count() > 0) text += " for " + duration_text(info.time_in_phase);
    text += ": ";
  }
  text += what_ended_it(info);
  if (!info.message.empty()) text += ": " + info.message;
  return text;
}

template <class Kind>
[[noreturn]] void raise(std::shared_ptr<const ErrorInfo> info) {
  throw Kind(std::move(info));
}

[[noreturn]] void throw_by_code(std::shared_ptr<const ErrorInfo> info) {
  switch (info->code) {
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kAlreadyExists:
    case Code::kOutOfRange:
      raise<InvalidArgument>(std::move(info));
    case Code::kFailedPrecondition:
      raise<WrongState>(std::move(info));
    case Code::kDeadlineExceeded:
      raise<DeadlineExceeded>(std::move(info));
    case Code::kCancelled:
      raise<Cancelled>(std::move(info));
    case Code::kResourceExhausted:
      raise<ResourceExhausted>(std::move(info));
    case Code::kUnavailable:
      raise<ChildLost>(std::move(info));
    default:
      raise<Error>(std::move(info));
  }
}

}  // namespace

std::string describe(const ErrorInfo& info) {
  std::string text = first_line(info);
  if (!info.traceback.empty()) text += "\nremote traceback:\n" + info.traceback;
  std::size_t shown = 0;
  for (const ErrorInfo& other : info.others) {
    if (shown == kOthersShown) {
      text += fmt::format("\nand {} more", info.others.size() - shown);
      break;
    }
    text += "\nalso: " + first_line(other);
    ++shown;
  }
  return text;
}

Error::Error(std::shared_ptr<const ErrorInfo> info) : info_(std::move(info)) {
  ECHELON_CHECK(info_ != nullptr);
  what_ = std::make_shared<const std::string>(describe(*info_));
}

const char* Error::what() const noexcept {
  return what_->c_str();
}

void throw_error(std::shared_ptr<const ErrorInfo> info) {
  ECHELON_CHECK(info != nullptr);
  switch (info->reason) {
    case Reason::kBadArgument:
    case Reason::kWrongLevel:
    case Reason::kForeignHandle:
    case Reason::kWrongAccess:
    case Reason::kWrongType:
    case Reason::kTooLarge:
    case Reason::kImage:
    case Reason::kWrongKind:
      raise<InvalidArgument>(std::move(info));
    case Reason::kWrongState:
      raise<WrongState>(std::move(info));
    case Reason::kStaleHandle:
      raise<StaleHandle>(std::move(info));
    case Reason::kException:
    case Reason::kPoisoned:
      raise<TaskFailed>(std::move(info));
    case Reason::kChildDied:
    case Reason::kUnresponsive:
    case Reason::kBadFrame:
    case Reason::kSpawnerLost:
      raise<ChildLost>(std::move(info));
    case Reason::kDeadline:
      raise<DeadlineExceeded>(std::move(info));
    case Reason::kCancelled:
      raise<Cancelled>(std::move(info));
    case Reason::kExhausted:
      raise<ResourceExhausted>(std::move(info));
    case Reason::kStartFailed:
      raise<StartFailed>(std::move(info));
    case Reason::kRegistration:
      raise<RegistrationFailed>(std::move(info));
    case Reason::kNoEligibleChild:
      // nobody ever could: the call is wrong; nobody is left alive: a loss
      if (info->code == Code::kUnavailable) raise<ChildLost>(std::move(info));
      raise<InvalidArgument>(std::move(info));
    case Reason::kDriver:
      if (info->code == Code::kInvalidArgument || info->code == Code::kNotFound)
        raise<InvalidArgument>(std::move(info));
      raise<TaskFailed>(std::move(info));
    case Reason::kNone:
    case Reason::kSystem:
    case Reason::kInternal:
      break;
  }
  throw_by_code(std::move(info));
}

}  // namespace echelon
