// SPDX-License-Identifier: Apache-2.0
//
// DataClient: copies that end before they are through.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "remote/data_client.h"

namespace echelon {
namespace {

Status too_slow() {
  ErrorInfo info;
  info.code = Code::kDeadlineExceeded;
  info.reason = Reason::kDeadline;
  info.cause = Cause::kDeadline;
  info.phase = Phase::kRunning;
  info.message = "the copy was stopped when its deadline passed";
  return Status(std::move(info));
}

}  // namespace

void DataClient::stop(TaskId task, const Status& why) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(transfers_.begin(), transfers_.end(),
                                  [task](const Transfer& one) { return one.copy.task == task; });
  if (found != transfers_.end()) stop_locked(*found, why);
  note_waiting_locked();
}

bool DataClient::stop_late(MonotonicNs now) {
  const std::lock_guard lock(mutex_);
  bool any = false;
  for (std::size_t i = transfers_.size(); i-- > 0;) {
    const MonotonicNs deadline = transfers_[i].copy.deadline_ns;
    if (deadline == 0 || now < deadline) continue;
    stop_locked(transfers_[i], too_slow());
    any = true;
  }
  note_waiting_locked();
  return any;
}

bool DataClient::is_fenced(BufferId buffer) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(stopped_.begin(), stopped_.end(), [buffer](const auto& one) {
    return one.second.to_session && one.second.buffer == buffer;
  });
}

void DataClient::stop_locked(Transfer& transfer, const Status& why) {
  ErrorInfo info = why.info();
  info.message += fmt::format(", with {} of {} bytes {}", transfer.moved, transfer.total,
                              transfer.copy.to_session ? "sent" : "received");
  if (transfer.begun) {
    stopped_[transfer.request] = {transfer.copy.remote.buffer, transfer.copy.to_session};
    if (!transfer.copy.to_session) {
      DataMessage& message = small_.emplace_back().message;
      message.kind = DataKind::kStop;
      message.request = transfer.request;
    } else {
      if (!transfer.sent_all) abandon_locked(transfer);
      fences_any_.store(true, std::memory_order_relaxed);
    }
  }
  end_locked(&transfer, Status(std::move(info)));
}

/// True: it is about a copy that was stopped, and needs nothing more.
Result<bool> DataClient::take_stopped_locked(const DataMessage& message) {
  // The requests of payloads are numbered by others.
  if (message.kind != DataKind::kWritten && message.kind != DataKind::kReadData) return false;
  const auto found = stopped_.find(message.request);
  if (found == stopped_.end()) return false;
  const DataKind expected = found->second.to_session ? DataKind::kWritten : DataKind::kReadData;
  if (message.kind != expected) {
    return bad_message(
        fmt::format("\"{}\" for a transfer of another kind", to_string(message.kind)));
  }
  if (message.kind == DataKind::kReadData && !message.last()) return true;
  stopped_.erase(found);
  fences_any_.store(std::any_of(stopped_.begin(), stopped_.end(),
                                [](const auto& one) { return one.second.to_session; }),
                    std::memory_order_relaxed);
  return true;
}

}  // namespace echelon
