// SPDX-License-Identifier: Apache-2.0
#include "process/tree_edge.h"

#include <cstring>

#include "shm/tensor_desc.h"

namespace echelon {
namespace {

// Offsets in a task body and in a tensor's wire form (shm/task_body.h, shm/tensor_desc.h).
constexpr std::size_t kBodyHeaderBytes = 8;
constexpr std::size_t kIssuerOffset = 0;
constexpr std::size_t kRankOffset = 34;

template <class T>
T read_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

// Calls visit(issuer) for each tensor; stops at the first error and where the body is malformed. A
// tensor in a chip's memory counts, too: its chip looks its size up in the issuer's table.
template <class Visit>
Status visit_issuers(std::span<const std::byte> body, Visit&& visit) {
  if (body.size() < kBodyHeaderBytes) return Status();
  const auto count = read_at<std::uint16_t>(body, 0);
  body = body.subspan(kBodyHeaderBytes);
  for (unsigned i = 0; i < count; ++i) {
    if (body.size() < kTensorWireBytesMin) return Status();
    const auto issuer = read_at<std::uint64_t>(body, kIssuerOffset);
    const std::size_t bytes =
        kTensorWireBytesMin + 16 * std::size_t{read_at<std::uint8_t>(body, kRankOffset)};
    if (body.size() < bytes) return Status();
    ECHELON_RETURN_IF_ERROR(visit(Uid{issuer}));
    body = body.subspan(bytes);
  }
  return Status();
}

}  // namespace

TreeEdge::TreeEdge(UniqueFd socket, Uid self, PoolSource& pools)
    : socket_(std::move(socket)), self_(self), pools_(pools) {}

bool TreeEdge::is_current(Uid issuer) const {
  for (std::size_t i = 0; i < current_count_; ++i) {
    if (current_[i] == issuer) return true;
  }
  return false;
}

Status TreeEdge::ensure_pushed(std::span<const std::byte> task_body) {
  if (const std::uint64_t epoch = pools_.epoch(); epoch != epoch_) {
    epoch_ = epoch;
    current_count_ = 0;
  }
  return visit_issuers(task_body, [this](Uid issuer) {
    return is_current(issuer) ? Status() : push_issuer(issuer);
  });
}

Status TreeEdge::push_issuer(Uid issuer) {
  if (const auto pool = pools_.descriptors(issuer); pool.has_value()) {
    const auto segments = static_cast<std::uint32_t>(pool->segments.size());
    if (!pushed_.up_to_date(issuer, segments)) {
      // Set first: part of it may have left when the socket is full.
      push_flag_ = true;
      const Status pushed = pushed_.push_missing(socket_.get(), *pool, /*wait=*/false);
      if (pushed.code() == Code::kResourceExhausted) {
        return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                             "the edge's socket is full");
      }
      ECHELON_RETURN_IF_ERROR(pushed);
    }
  }
  // Full: the oldest are looked up anew, which costs time and nothing else.
  if (current_count_ == kCurrentMax) current_count_ = 0;
  current_[current_count_++] = issuer;
  return Status();
}

Result<SpillData> TreeEdge::send_spill(std::span<const std::byte> body,
                                       std::span<const std::byte> more, bool wait) {
  return ::echelon::send_spill(socket_.get(), self_, ++spill_id_, body, more, wait);
}

bool TreeEdge::fetch_more_locked() {
  bool some = false;
  while (receive_error_.ok()) {
    auto received = receive_push(socket_.get(), /*wait=*/false);
    if (received.ok() && (received->none || received->end)) return some;
    if (received.ok()) {
      receive_error_ = adopt_locked(std::move(received).value());
    } else {
      receive_error_ = received.status();
    }
    some = true;
  }
  return some;
}

Status TreeEdge::adopt_locked(ReceivedPush push) {
  if (push.push.kind != PushKind::kPayload) return pools_.adopt(std::move(push), spills_);
  if (payloads_.size() >= kPayloadsMax || payloads_.contains(push.push.index)) {
    return Status::error(Code::kDataLoss, Reason::kBadFrame,
                         "a pushed payload is refused: too many wait, or it came twice");
  }
  payloads_.emplace(push.push.index, std::move(push.fd));
  return {};
}

UniqueFd TreeEdge::take_payload(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  fetch_more_locked();
  const auto found = payloads_.find(id);
  if (found == payloads_.end()) return {};
  UniqueFd fd = std::move(found->second);
  payloads_.erase(found);
  return fd;
}

bool TreeEdge::fetch_more() {
  const std::lock_guard lock(mutex_);
  return fetch_more_locked();
}

Result<Mapping> TreeEdge::take_spill(std::span<const std::byte> frame_body) {
  const std::lock_guard lock(mutex_);
  return spills_.take(frame_body, [this] { return fetch_more_locked(); });
}

Status TreeEdge::receive_error() const {
  const std::lock_guard lock(mutex_);
  return receive_error_;
}

}  // namespace echelon
