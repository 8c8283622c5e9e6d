// SPDX-License-Identifier: Apache-2.0
#include "remote/data_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "remote/dense_range.h"

namespace echelon {
namespace {

/// Pieces in one round: what a lane holds, and no more at a time of its driver's.
constexpr std::size_t kPiecesPerRound = kLaneBufferBytes / kPieceBytes;
/// Allocations and frees that wait for room in the lane.
constexpr std::size_t kSmallMax = 4096;

}  // namespace

void DataClient::attach(std::unique_ptr<Lane> lane) {
  const std::lock_guard lock(mutex_);
  ECHELON_CHECK(owned_ == nullptr);
  owned_ = std::move(lane);
  // pairs with the acquire load in has_come(): the lane as it was made
  lane_.store(owned_.get(), std::memory_order_release);
}

// --- requests
// -------------------------------------------------------------------------------------

void DataClient::start_copy(const RemoteCopy& copy) {
  const std::lock_guard lock(mutex_);
  Transfer& made = transfers_.emplace_back();
  made.copy = copy;
  made.request = next_request_++;
  made.total = copy.local.payload_bytes();
  note_waiting_locked();
}

bool DataClient::try_recall(TaskId task) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(transfers_.begin(), transfers_.end(),
                                  [task](const Transfer& one) { return one.copy.task == task; });
  if (found == transfers_.end() || found->begun) return false;
  transfers_.erase(found);
  note_waiting_locked();
  return true;
}

void DataClient::take_ended(std::vector<std::pair<TaskId, Status>>& into) {
  if (!ended_any_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(mutex_);
  ended_any_.store(false, std::memory_order_relaxed);
  into.insert(into.end(), ended_.begin(), ended_.end());
  ended_.clear();
}

DispatchResult DataClient::allocate(std::uint64_t token, std::span<const std::int64_t> shape,
                                    DType dtype, bool zeroed) {
  ECHELON_CHECK(shape.size() <= kTensorRankMax, shape.size());
  const std::lock_guard lock(mutex_);
  if (!failed_.ok() || owned_ == nullptr) return DispatchResult::kDown;
  if (small_.size() >= kSmallMax) return DispatchResult::kNoRoom;
  DataMessage& message = small_.emplace_back().message;
  message.kind = DataKind::kAllocate;
  message.request = next_request_++;
  message.dtype = dtype;
  message.zeroed = zeroed;
  message.rank = static_cast<std::uint8_t>(shape.size());
  std::copy(shape.begin(), shape.end(), message.extent.begin());
  allocating_[message.request] = {token, dtype, {shape.begin(), shape.end()}};
  send_small_locked();
  note_waiting_locked();
  return DispatchResult::kSent;
}

std::vector<RemoteEndpoint::Allocation> DataClient::take_allocations() {
  const std::lock_guard lock(mutex_);
  return std::exchange(allocations_, {});
}

bool DataClient::note_allocations() {
  return allocated_any_.load(std::memory_order_relaxed) &&
         allocated_any_.exchange(false, std::memory_order_relaxed);
}

DispatchResult DataClient::release(BufferId buffer) {
  const std::lock_guard lock(mutex_);
  if (!failed_.ok() || owned_ == nullptr) return DispatchResult::kDown;
  if (small_.size() >= kSmallMax) return DispatchResult::kNoRoom;
  DataMessage& message = small_.emplace_back().message;
  message.kind = DataKind::kFree;
  message.request = next_request_++;
  message.buffer = buffer;
  freeing_.insert(message.request);
  send_small_locked();
  note_waiting_locked();
  return DispatchResult::kSent;
}

Result<DispatchResult> DataClient::send_payload(std::uint64_t id,
                                                const std::shared_ptr<const Payload>& payload) {
  const std::lock_guard lock(mutex_);
  if (!failed_.ok() || owned_ == nullptr) return DispatchResult::kDown;
  Upload& upload = uploads_[id];
  if (upload.payload == nullptr) upload.payload = payload;
  if (!upload.held && upload.error.ok()) pump_locked();
  if (!upload.error.ok()) return upload.error;
  return upload.held ? DispatchResult::kSent : DispatchResult::kNoRoom;
}

void DataClient::forget_payload(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = uploads_.find(id);
  if (found == uploads_.end()) return;
  found->second.forgotten = true;
  if (found->second.sent_all || found->second.sent == 0) uploads_.erase(found);
}

// --- down the lane
// --------------------------------------------------------------------------------

bool DataClient::has_noted() const {
  return ended_any_.load(std::memory_order_relaxed) ||
         allocated_any_.load(std::memory_order_relaxed) || broken_.load(std::memory_order_relaxed);
}

bool DataClient::has_come() const {
  const Lane* lane = lane_.load(std::memory_order_acquire);  // pairs with attach()
  return lane != nullptr && lane->has_news();
}

bool DataClient::pump() {
  const std::lock_guard lock(mutex_);
  return pump_locked();
}

bool DataClient::pump_locked() {
  if (owned_ == nullptr || !failed_.ok()) return false;
  bool moved = owned_->poll(*this) != 0;
  moved = send_small_locked() || moved;
  moved = send_transfers_locked() || moved;
  moved = send_uploads_locked() || moved;
  note_waiting_locked();
  return moved;
}

void DataClient::note_waiting_locked() {
  const auto unsent = [](const Transfer& one) { return !one.sent_all; };
  const auto unsent_upload = [](const auto& one) { return !one.second.sent_all; };
  waiting_.store(failed_.ok() && (!small_.empty() ||
                                  std::any_of(transfers_.begin(), transfers_.end(), unsent) ||
                                  std::any_of(uploads_.begin(), uploads_.end(), unsent_upload)),
                 std::memory_order_relaxed);
}

bool DataClient::send_small_locked() {
  bool sent = false;
  while (!small_.empty()) {
    Small& next = small_.front();
    if (!next.bytes.empty()) next.message.bytes = next.bytes;
    if (send_data(*owned_, next.message) != LaneSend::kSent) break;
    small_.pop_front();
    sent = true;
  }
  return sent;
}

bool DataClient::send_transfers_locked() {
  if (!small_.empty()) return false;  // there is no room
  bool sent = false;
  for (std::size_t i = 0; i < kPiecesPerRound; ++i) {
    // The next one in turn that has something to send.
    std::size_t looked = 0;
    while (looked < transfers_.size() &&
           transfers_[(turn_ + looked) % transfers_.size()].sent_all) {
      ++looked;
    }
    if (looked == transfers_.size()) return sent;
    const std::size_t at = (turn_ + looked) % transfers_.size();
    if (send_step_locked(transfers_[at]) != LaneSend::kSent) return sent;
    turn_ = at + 1;
    sent = true;
  }
  return sent;
}

LaneSend DataClient::send_step_locked(Transfer& transfer) {
  if (transfer.copy.to_session) return send_write_locked(transfer);
  DataMessage message;
  message.kind = DataKind::kRead;
  message.request = transfer.request;
  message.tensor = transfer.copy.remote;
  message.length = transfer.total;
  const LaneSend sent = send_data(*owned_, message);
  if (sent == LaneSend::kSent) transfer.begun = transfer.sent_all = true;
  return sent;
}

LaneSend DataClient::send_write_locked(Transfer& transfer) {
  const RemoteCopy& copy = transfer.copy;
  const std::uint64_t bytes = std::min<std::uint64_t>(kPieceBytes, transfer.total - transfer.moved);
  const bool last = transfer.moved + bytes == transfer.total;
  DataMessage message;
  message.kind = DataKind::kWrite;
  message.request = transfer.request;
  message.flags = last ? kDataLast : 0;
  message.tensor = copy.remote;
  message.offset = transfer.moved;
  if (copy.local.contiguous()) {
    message.bytes = std::span(copy.at + transfer.moved, bytes);
  } else {
    piece_.resize(kPieceBytes);
    gather_range(copy.local, copy.at, transfer.moved, std::span(piece_).first(bytes));
    message.bytes = std::span(piece_).first(bytes);
  }
  const LaneSend sent = send_data(*owned_, message);
  if (sent != LaneSend::kSent) return sent;
  transfer.begun = true;
  transfer.moved += bytes;
  transfer.sent_all = last;
  bytes_out_.fetch_add(bytes, std::memory_order_relaxed);
  return sent;
}

bool DataClient::send_uploads_locked() {
  if (!small_.empty()) return false;
  bool sent = false;
  for (auto it = uploads_.begin(); it != uploads_.end();) {
    auto& [id, upload] = *it;
    while (!upload.sent_all) {
      const auto payload = upload.payload->bytes();
      DataMessage message;
      message.kind = DataKind::kPayload;
      message.request = id;
      message.offset = upload.sent;
      message.length = payload.size();
      message.bytes =
          payload.subspan(upload.sent, std::min(kPieceBytes, payload.size() - upload.sent));
      const bool last = upload.sent + message.bytes.size() == payload.size();
      message.flags = last ? kDataLast : 0;
      if (send_data(*owned_, message) != LaneSend::kSent) return sent;
      upload.sent += message.bytes.size();
      upload.sent_all = last;
      sent = true;
    }
    it = upload.forgotten ? uploads_.erase(it) : std::next(it);
  }
  return sent;
}

// --- up
// -------------------------------------------------------------------------------------------

void DataClient::fail_locked(const Status& why) {
  if (!failed_.ok()) return;
  failed_ = why;
  broken_.store(true, std::memory_order_relaxed);
}

void DataClient::on_down(const Status& why) {
  fail_locked(why);
}

void DataClient::on_message(std::span<const std::byte> bytes) {
  if (!failed_.ok()) return;
  const auto message = decode_data(bytes);
  const Status taken = message.ok() ? take_locked(*message) : message.status();
  if (!taken.ok()) fail_locked(taken);
}

void DataClient::on_parts(LaneSegments parts) {
  if (!failed_.ok()) return;
  const auto piece = decode_piece(parts);
  if (!piece || (piece->ok() && (*piece)->kind != DataKind::kReadData)) {
    return LaneEvents::on_parts(parts);
  }
  const Status taken = piece->ok() ? take_locked(**piece, parts.subspan(1)) : piece->status();
  if (!taken.ok()) fail_locked(taken);
}

Status DataClient::take_locked(const DataMessage& message, LaneSegments more) {
  ECHELON_ASSIGN_OR_RETURN(const bool stopped, take_stopped_locked(message));
  if (stopped) return {};
  switch (message.kind) {
    case DataKind::kAllocated:
      return take_allocated_locked(message);
    case DataKind::kFreed: {
      // One that was gone already is no matter: it is gone.
      if (freeing_.erase(message.request) == 1) return {};
      return bad_message("a buffer was freed that nobody asked for");
    }
    case DataKind::kWritten:
      return take_written_locked(message);
    case DataKind::kReadData:
      return take_read_locked(message, more);
    case DataKind::kPayloadHeld:
      return take_held_locked(message);
    case DataKind::kExpected:
    case DataKind::kConnected:
    case DataKind::kGranted:
    case DataKind::kRevoked:
    case DataKind::kPushed:
      return take_of_peers_locked(message);
    default:
      return bad_message(fmt::format("\"{}\" from a session", to_string(message.kind)));
  }
}

Status DataClient::take_allocated_locked(const DataMessage& message) {
  const auto found = allocating_.extract(message.request);
  if (found.empty()) return bad_message("an allocation that nobody asked for");
  allocated_any_.store(true, std::memory_order_relaxed);
  const Asked& asked = found.mapped();
  const TensorDesc& tensor = message.tensor;
  Status bad;
  if (message.failed()) {
    allocations_.push_back({asked.token, error_in(message.bytes, bad)});
  } else if (tensor.dtype == asked.dtype && tensor.contiguous() &&
             std::equal(asked.shape.begin(), asked.shape.end(), tensor.extent.begin(),
                        tensor.extent.begin() + tensor.rank)) {
    allocations_.push_back({asked.token, tensor});
  } else {
    bad = bad_message("an allocation of another shape or type than was asked for");
    allocations_.push_back({asked.token, bad});
  }
  return bad;
}

Result<DataClient::Transfer*> DataClient::transfer_locked(const DataMessage& message,
                                                          bool to_session) {
  for (Transfer& one : transfers_) {
    if (one.request == message.request && one.begun && one.copy.to_session == to_session) {
      return &one;
    }
  }
  return bad_message(
      fmt::format("\"{}\" for a transfer that is not under way", to_string(message.kind)));
}

Status DataClient::take_written_locked(const DataMessage& message) {
  ECHELON_ASSIGN_OR_RETURN(Transfer* const transfer, transfer_locked(message, true));
  if (message.failed()) {
    Status bad;
    Status why = error_in(message.bytes, bad);
    if (!transfer->sent_all) abandon_locked(*transfer);
    end_locked(transfer, std::move(why));
    return bad;
  }
  if (!transfer->sent_all) return bad_message("a write is answered before all of it was sent");
  end_locked(transfer, Status());
  return {};
}

/// Ends the pieces of a write that is refused already.
void DataClient::abandon_locked(const Transfer& transfer) {
  DataMessage& message = small_.emplace_back().message;
  message.kind = DataKind::kWrite;
  message.flags = kDataLast;
  message.request = transfer.request;
  message.tensor = transfer.copy.remote;
  message.offset = transfer.moved;
}

/// `more`: bytes that follow those of the message.
Status DataClient::take_read_locked(const DataMessage& message, LaneSegments more) {
  ECHELON_ASSIGN_OR_RETURN(Transfer* const transfer, transfer_locked(message, false));
  if (message.failed()) {
    Status bad;
    end_locked(transfer, error_in(message.bytes, bad));
    return bad;
  }
  std::uint64_t bytes = message.bytes.size();
  for (const auto part : more) bytes += part.size();
  const std::uint64_t left = transfer->total - transfer->moved;
  if (message.offset != transfer->moved || bytes > left || message.last() != (bytes == left)) {
    return bad_message(fmt::format("{} bytes from byte {} where {} of {} have come", bytes,
                                   message.offset, transfer->moved, transfer->total));
  }
  scatter_parts(transfer->copy.local, message.offset, message.bytes, more, transfer->copy.at);
  transfer->moved += bytes;
  bytes_in_.fetch_add(bytes, std::memory_order_relaxed);
  if (message.last()) end_locked(transfer, Status());
  return {};
}

Status DataClient::take_held_locked(const DataMessage& message) {
  const auto found = uploads_.find(message.request);
  // Its registration was given up meanwhile.
  if (found == uploads_.end()) return {};
  Upload& upload = found->second;
  Status bad;
  if (message.failed()) {
    upload.error = error_in(message.bytes, bad);
    return bad;
  }
  if (!upload.sent_all) return bad_message("a payload is held before all of it was sent");
  upload.held = true;
  return {};
}

Status DataClient::take_of_peers_locked(const DataMessage& message) {
  const auto found = orders_.find(message.request);
  if (found == orders_.end() || found->second.first != message.kind) {
    return bad_message(fmt::format("\"{}\" that nobody asked for", to_string(message.kind)));
  }
  Status bad;
  Status status;
  if (message.failed()) status = error_in(message.bytes, bad);
  orders_ended_.emplace_back(std::move(found->second.second), std::move(status));
  orders_.erase(found);
  ended_any_.store(true, std::memory_order_relaxed);
  return bad;
}

void DataClient::order(DataMessage message, std::vector<std::byte> bytes, Ordered done) {
  std::unique_lock lock(mutex_);
  if (!failed_.ok() || owned_ == nullptr) {
    const Status why = failed_.ok() ? bad_message("an order before its lane is there") : failed_;
    lock.unlock();
    return done(why);
  }
  message.request = next_request_++;
  // Each answer is the number after its order.
  const auto answer = static_cast<DataKind>(static_cast<unsigned>(message.kind) + 1);
  orders_.emplace(message.request, std::pair(answer, std::move(done)));
  small_.push_back({message, std::move(bytes)});
  send_small_locked();
  note_waiting_locked();
}

bool DataClient::end_orders() {
  std::vector<std::pair<Ordered, Status>> ended;
  {
    const std::lock_guard lock(mutex_);
    ended.swap(orders_ended_);
  }
  for (const auto& [done, status] : ended) done(status);
  return !ended.empty();
}

void DataClient::end_locked(Transfer* transfer, Status status) {
  ended_.emplace_back(transfer->copy.task, std::move(status));
  ended_any_.store(true, std::memory_order_relaxed);
  transfers_.erase(transfers_.begin() + (transfer - transfers_.data()));
}

Status DataClient::failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

void DataClient::close(const Status& why) {
  const std::lock_guard lock(mutex_);
  fail_locked(why);
  transfers_.clear();
  stopped_.clear();
  fences_any_.store(false, std::memory_order_relaxed);
  small_.clear();
  uploads_.clear();
  for (const auto& [request, asked] : allocating_) allocations_.push_back({asked.token, why});
  allocating_.clear();
  for (auto& [request, order] : orders_) orders_ended_.emplace_back(std::move(order.second), why);
  orders_.clear();
  ended_.clear();
  ended_any_.store(false, std::memory_order_relaxed);
  note_waiting_locked();
  if (owned_ != nullptr) owned_->close(why);
}

void DataClient::destroy_lane() {
  const std::lock_guard lock(mutex_);
  lane_.store(nullptr, std::memory_order_relaxed);
  owned_.reset();
}

}  // namespace echelon
