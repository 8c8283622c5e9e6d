// SPDX-License-Identifier: Apache-2.0
#include "remote/data_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error_codec.h"
#include "remote/dense_range.h"
#include "remote/lane_words.h"
#include "remote/peer_links.h"

namespace echelon {
namespace {

/// While so many answers wait, nothing is read.
constexpr std::size_t kAnswersMax = 64;
/// Transfers at once; a parent's tasks bound them to fewer.
constexpr std::size_t kTransfersMax = 1024;
/// Payloads that came and were not asked for yet.
constexpr std::size_t kPayloadsHeldMax = 256;
/// Pieces in one round, so that what has come is looked at in between.
constexpr std::size_t kPiecesPerRound = 8;

}  // namespace

bool DataServer::reading() const {
  return failed_.ok() && answers_.size() < kAnswersMax;
}

bool DataServer::pump() {
  if (!failed_.ok()) return false;
  if (has_peer_answers()) take_peer_answers();
  bool busy = send_answers();
  if (reading()) busy = lane_.poll(*this) != 0 || busy;
  busy = send_answers() || busy;
  return send_pieces() || busy;
}

void DataServer::on_down(const Status& why) {
  if (failed_.ok()) failed_ = lane_down(LaneRole::kData, why);
}

void DataServer::on_message(std::span<const std::byte> bytes) {
  if (!failed_.ok()) return;
  const auto message = decode_data(bytes);
  failed_ = message.ok() ? take(*message) : message.status();
}

bool DataServer::has_peer_answers() const {
  return peers_ != nullptr && answers_.size() < kAnswersMax && peers_->has_answers();
}

void DataServer::take_peer_answers() {
  for (const PeerLinks::Answer& one : peers_->take_answers()) {
    answer(one.kind, one.request, one.status);
  }
}

void DataServer::on_parts(LaneSegments parts) {
  if (!failed_.ok()) return;
  const auto piece = decode_piece(parts);
  if (!piece || (piece->ok() && (*piece)->kind != DataKind::kWrite)) {
    return LaneEvents::on_parts(parts);
  }
  failed_ = piece->ok() ? write(**piece, parts.subspan(1)) : piece->status();
}

Status DataServer::take(const DataMessage& message) {
  if (of_ == Of::kPeer && message.kind != DataKind::kWrite) {
    return bad_message(fmt::format("\"{}\" from a peer", to_string(message.kind)));
  }
  if (peers_ != nullptr && is_of_peers(message.kind) && !is_answer(message.kind)) {
    return peers_->take(message);
  }
  switch (message.kind) {
    case DataKind::kAllocate:
      allocate(message);
      return {};
    case DataKind::kFree:
      answer(DataKind::kFreed, message.request, memory_.free(message.buffer));
      return {};
    case DataKind::kWrite:
      return write(message);
    case DataKind::kRead:
      return start_read(message);
    case DataKind::kStop:
      stop_read(message);
      return {};
    case DataKind::kPayload:
      return add_payload(message);
    default:
      return bad_message(fmt::format("\"{}\" at a session", to_string(message.kind)));
  }
}

// --- answers
// --------------------------------------------------------------------------------------

void DataServer::answer(DataKind kind, std::uint64_t request, const Status& status) {
  Answer& made = answers_.emplace_back();
  made.message.kind = kind;
  made.message.request = request;
  made.message.flags = kDataLast;
  if (status.ok()) return;
  made.message.flags = kDataLast | kDataError;
  made.error = encode_error(status.info(), kErrorBytesMax);
}

/// True if any went.
bool DataServer::send_answers() {
  bool sent = false;
  while (!answers_.empty()) {
    Answer& next = answers_.front();
    next.message.bytes = next.error;
    if (send_data(lane_, next.message) != LaneSend::kSent) break;  // kDown: poll() will say so
    answers_.pop_front();
    sent = true;
  }
  return sent;
}

void DataServer::allocate(const DataMessage& message) {
  auto made = memory_.allocate(std::span(message.extent).first(message.rank), message.dtype,
                               message.zeroed);
  answer(DataKind::kAllocated, message.request, made.status());
  if (made.ok()) answers_.back().message.tensor = *made;
}

// --- what comes in pieces
// --------------------------------------------------------------------------

/// True: it belongs to something that was refused, and is passed over.
bool DataServer::in_refused(const DataMessage& message) {
  const auto found = refused_.find(message.request);
  if (found == refused_.end()) return false;
  if (message.last()) refused_.erase(found);
  return true;
}

/// Answers with the error, once, and passes over what is still to come of it.
Status DataServer::refuse_rest(const DataMessage& message, DataKind kind, const Status& why) {
  answer(kind, message.request, why);
  if (message.last()) return {};
  if (refused_.size() >= kTransfersMax) return bad_message("too many transfers that go on refused");
  refused_.insert(message.request);
  return {};
}

/// `more`: bytes that follow those of the message.
Status DataServer::write(const DataMessage& message, LaneSegments more) {
  if (in_refused(message)) return {};
  const auto at = memory_.open(message.tensor, Access::kWrite);
  if (!at.ok()) return refuse_rest(message, DataKind::kWritten, at.status());
  scatter_parts(message.tensor, message.offset, message.bytes, more, *at);
  if (message.last()) answer(DataKind::kWritten, message.request, Status());
  return {};
}

Status DataServer::add_payload(const DataMessage& message) {
  if (in_refused(message)) return {};
  Incoming& into = incoming_[message.request];
  if (into.bytes.empty()) into.total = message.length;
  const std::uint64_t have = into.bytes.size();
  const bool ends = have + message.bytes.size() == into.total;
  if (message.offset != have || message.length != into.total || ends != message.last() ||
      message.bytes.empty()) {
    return bad_message(fmt::format("a payload's piece from byte {} where {} of {} have come",
                                   message.offset, have, into.total));
  }
  const bool room = into.total <= kPayloadBytesMax && incoming_.size() <= 2;
  if (!room) {
    incoming_.erase(message.request);
    return refuse_rest(message, DataKind::kPayloadHeld,
                       Status::error(Code::kResourceExhausted, Reason::kTooLarge,
                                     fmt::format("a payload of {} bytes; {} are the most",
                                                 message.length, kPayloadBytesMax)));
  }
  into.bytes.insert(into.bytes.end(), message.bytes.begin(), message.bytes.end());
  if (!ends) return {};
  std::vector<std::byte> whole = std::move(into.bytes);
  incoming_.erase(message.request);
  answer(DataKind::kPayloadHeld, message.request, hold(message.request, std::move(whole)));
  return {};
}

/// A payload that came whole waits for its frame.
Status DataServer::hold(std::uint64_t id, std::vector<std::byte> bytes) {
  // Libraries are opened by descriptor.
  ECHELON_ASSIGN_OR_RETURN(auto payload, Payload::make_file(bytes, MemfdUse::kExecutable));
  const std::lock_guard lock(mutex_);
  // What was given up above is never asked for: the oldest goes.
  while (!payloads_.empty() && (payloads_.size() >= kPayloadsHeldMax ||
                                payload_bytes_ + bytes.size() > kPayloadBytesMax)) {
    payload_bytes_ -= payloads_.begin()->second->bytes().size();
    payloads_.erase(payloads_.begin());
  }
  if (!payloads_.emplace(id, std::move(payload)).second) {
    return Status::error(Code::kAlreadyExists, Reason::kBadArgument,
                         fmt::format("payload {} is here already", id));
  }
  payload_bytes_ += bytes.size();
  return {};
}

Result<std::shared_ptr<const Payload>> DataServer::take_payload(std::uint64_t id,
                                                                std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  auto found = payloads_.extract(id);
  if (found.empty()) return bad_message("a registration whose payload has not come");
  const std::uint64_t have = found.mapped()->bytes().size();
  payload_bytes_ -= have;
  if (have == bytes) return std::move(found.mapped());
  return bad_message(fmt::format("a payload of {} bytes, of which {} came", bytes, have));
}

// --- reads
// ----------------------------------------------------------------------------------------

Status DataServer::start_read(const DataMessage& message) {
  if (reads_.size() >= kTransfersMax) return bad_message("too many reads at once");
  reads_.push_back(
      {message.request, message.tensor, message.offset, message.offset + message.length});
  return {};
}

// One that is not here has ended: its last piece is on its way.
void DataServer::stop_read(const DataMessage& message) {
  const auto one = [&](const Read& read) { return read.request == message.request; };
  if (std::erase_if(reads_, one) == 0) return;
  answer(DataKind::kReadData, message.request,
         Status::error(Code::kCancelled, Reason::kCancelled, "the read was stopped on request"));
}

/// True if there was room for all of this round.
bool DataServer::send_pieces() {
  for (std::size_t i = 0; i < kPiecesPerRound && !reads_.empty(); ++i) {
    bool done = false;
    if (!send_piece(reads_.front(), done)) return false;
    Read read = reads_.front();
    reads_.pop_front();
    if (!done) reads_.push_back(read);
  }
  return !reads_.empty();
}

/// False: no room.
bool DataServer::send_piece(Read& read, bool& done) {
  DataMessage message;
  message.kind = DataKind::kReadData;
  message.request = read.request;
  message.offset = read.at;
  const std::uint64_t bytes = std::min<std::uint64_t>(kPieceBytes, read.end - read.at);
  done = read.at + bytes == read.end;
  if (done) message.flags = kDataLast;
  // Each time anew: it may have been freed since.
  const auto from = memory_.open(read.tensor, Access::kRead);
  std::vector<std::byte> error;
  if (!from.ok()) {
    error = encode_error(from.status().info(), kErrorBytesMax);
    message.flags = kDataLast | kDataError;
    message.bytes = error;
    done = true;
  } else if (read.tensor.contiguous()) {
    message.bytes = std::span(*from + read.at, bytes);
  } else {
    piece_.resize(kPieceBytes);
    gather_range(read.tensor, *from, read.at, std::span(piece_).first(bytes));
    message.bytes = std::span(piece_).first(bytes);
  }
  if (send_data(lane_, message) != LaneSend::kSent) return false;
  read.at += bytes;
  return true;
}

}  // namespace echelon
