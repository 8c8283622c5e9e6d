// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/lane_core.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error_codec.h"
#include "remote/grpc/freed_memory.h"
#include "remote/lane_words.h"

namespace echelon {
namespace {

/// What a message costs beside its bytes, so that empty ones are bounded, too.
constexpr std::size_t kMessageCost = 64;
/// Small messages that wait for the one before them go together.
constexpr std::size_t kBatchBytesGoal = std::size_t{256} << 10;
constexpr std::size_t kBatchMessagesGoal = 256;
/// A batch below this is copied out of the pages that it came in, which are larger than it.
constexpr std::size_t kKeepPagesBytes = std::size_t{16} << 10;
/// A message from here on stays in the parts in which it came, unless these are so small that what
/// they cost beside their bytes matters.
constexpr std::size_t kKeepPartsBytes = std::size_t{128} << 10;
constexpr std::size_t kPartBytesMin = 1024;
/// A closed lane writes what was sent for so long, if the peer is slow to take it.
constexpr std::chrono::seconds kLinger{5};
constexpr std::size_t kWordsBytesMax = std::size_t{64} << 10;

// CORE-2, with what gRPC reads ahead (channel_options.h) on top.
constexpr std::size_t kReadBelowBytes = std::size_t{2} << 20;
static_assert(kReadBelowBytes + kBatchBytesMax + kBatchMessagesMax * kMessageCost <=
              kLaneBufferBytes);
static_assert(kBatchMessagesGoal <= kBatchMessagesMax);
static_assert(kLaneMessageBytesMax + sizeof(FieldHeader) + kMessageCost <= kLaneBufferBytes);

std::span<const std::byte> view(const grpc::Slice& slice) {
  return {reinterpret_cast<const std::byte*>(slice.begin()), slice.size()};
}

/// One field of a batch, in a slice of its own.
grpc::Slice encode_field(BatchField field, LaneSegments segments, std::size_t bytes) {
  const FieldHeader header = field_header(field, bytes);
  grpc_slice raw = grpc_slice_malloc(header.size + bytes);
  std::uint8_t* at = GRPC_SLICE_START_PTR(raw);
  std::memcpy(at, header.bytes.data(), header.size);
  at += header.size;
  for (const auto segment : segments) {
    if (segment.empty()) continue;
    std::memcpy(at, segment.data(), segment.size());
    at += segment.size();
  }
  return {raw, grpc::Slice::STEAL_REF};
}

grpc::Slice encode_words(const std::string& words) {
  const auto bytes = std::as_bytes(std::span(words));
  return encode_field(BatchField::kClosed, {&bytes, 1}, bytes.size());
}

/// One slice for all of it; empty where `buffer` cannot be read.
std::optional<grpc::Slice> join(grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (buffer.Length() >= kKeepPagesBytes) {
    if (!buffer.TrySingleSlice(&slice).ok() && !buffer.DumpToSingleSlice(&slice).ok()) return {};
    return slice;
  }
  std::vector<grpc::Slice> parts;
  if (!buffer.Dump(&parts).ok()) return {};
  // Not one whose bytes lie in the slice itself: messages are views of them.
  grpc_slice raw = grpc_slice_malloc_large(buffer.Length());
  std::uint8_t* at = GRPC_SLICE_START_PTR(raw);
  for (const grpc::Slice& part : parts) {
    std::memcpy(at, part.begin(), part.size());
    at += part.size();
  }
  return grpc::Slice(raw, grpc::Slice::STEAL_REF);
}

Status unreadable() {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       "what came over the lane cannot be read: is it compressed?");
}

class GrpcLane final : public Lane {
 public:
  explicit GrpcLane(std::shared_ptr<LaneCore> core) : core_(std::move(core)) {}
  ~GrpcLane() override { core_->abandon(); }
  LaneSend try_send(LaneSegments segments) override { return core_->try_send(segments); }
  std::size_t poll(LaneEvents& events) override { return core_->poll(events); }
  bool has_news() const override { return core_->has_news(); }
  void close(const Status& why) override { core_->close(why); }
  bool is_closing() const override { return core_->is_closing(); }
  std::string_view implementation() const override { return "grpc"; }

 private:
  const std::shared_ptr<LaneCore> core_;
};

}  // namespace

LaneCore::LaneCore(std::shared_ptr<Reactor> reactor, std::unique_ptr<LaneStream> stream,
                   LaneOptions options, std::function<Status(const grpc::Status&)> broken)
    : reactor_(std::move(reactor)),
      stream_(std::move(stream)),
      broken_(std::move(broken)),
      notify_(std::move(options.notify)) {
  keep_freed_memory();
  reactor_->hold();
}

LaneCore::~LaneCore() {
  reactor_->release();
}

void LaneCore::start() {
  std::unique_lock lock(mutex_);
  started_ = true;
  advance(lock);
}

LaneSend LaneCore::try_send(LaneSegments segments) {
  std::size_t bytes = 0;
  for (const auto segment : segments) bytes += segment.size();
  ECHELON_CHECK(bytes <= kLaneMessageBytesMax, bytes);
  {
    const std::lock_guard lock(mutex_);
    if (down_) return LaneSend::kDown;
    const std::size_t cost = field_header(BatchField::kMessages, bytes).size + bytes + kMessageCost;
    if (outbox_bytes_ + cost > kLaneBufferBytes) {
      wanted_ = cost;
      return LaneSend::kNoRoom;
    }
    outbox_bytes_ += cost;
  }
  grpc::Slice message = encode_field(BatchField::kMessages, segments, bytes);
  std::unique_lock lock(mutex_);
  if (down_) return LaneSend::kDown;
  outbox_.push_back(std::move(message));
  advance(lock);
  return LaneSend::kSent;
}

std::size_t LaneCore::poll(LaneEvents& events) {
  reactor_->poll(polls_seen_);
  if (!news_.load(std::memory_order_acquire)) return 0;  // pairs with note_news_locked()
  std::size_t count = 0;
  std::unique_lock lock(mutex_);
  // What arrives meanwhile is the next poll's, so that a busy sender does not hold the reader.
  for (std::size_t left = inbox_.size(); left != 0; --left, ++count) {
    const Arrived message = std::move(inbox_.front());
    inbox_.pop_front();
    lock.unlock();
    deliver(message, events);
    lock.lock();
    inbox_bytes_ -= message.cost;
  }
  const bool report = down_ && !down_reported_ && inbox_.empty();
  if (report) down_reported_ = true;
  note_news_locked();
  advance(lock);
  lock.unlock();
  if (!report) return count;
  events.on_down(why_);
  return count + 1;
}

void LaneCore::deliver(const Arrived& message, LaneEvents& events) {
  if (message.parts.empty()) return events.on_message(message.bytes);
  std::vector<std::span<const std::byte>> parts;
  parts.reserve(message.parts.size());
  std::size_t skip = message.skipped;
  for (const grpc::Slice& slice : message.parts) {
    const auto part = view(slice).subspan(std::exchange(skip, 0));
    if (!part.empty()) parts.push_back(part);
  }
  events.on_parts(parts);
}

bool LaneCore::has_news() {
  // pairs with note_news_locked(): that a message is in the inbox
  if (news_.load(std::memory_order_acquire)) return true;
  reactor_->watch();
  // pairs with note_news_locked(): either it is seen here, or notify() comes after the caller slept
  return news_.load(std::memory_order_seq_cst);
}

void LaneCore::close(const Status& why) {
  {
    std::unique_lock lock(mutex_);
    if (down_) return;
    close_locked(lane_closed_here(why), why);
    advance(lock);
  }
  call_notify();
}

bool LaneCore::is_closing() {
  const std::lock_guard lock(mutex_);
  return lingers_ && !finished_;
}

void LaneCore::abandon() {
  {
    const std::lock_guard lock(notify_mutex_);
    notify_ = nullptr;
  }
  std::unique_lock lock(mutex_);
  inbox_.clear();
  inbox_bytes_ = 0;
  note_news_locked();
  if (down_) {
    advance(lock);
    return;
  }
  go_down_locked(lane_closed_here(Status()));
  write_ended_ = true;
  lock.unlock();
  stream_->cancel();
  lock.lock();
  advance(lock);
}

void LaneCore::on_read(bool ok) {
  bool tell = false;
  {
    std::unique_lock lock(mutex_);
    reading_ = false;
    tell = !down_;
    if (!ok) {
      read_ended_ = true;
      // The opener hears why from the status.
      if (stream_->says_last()) {
        tell = false;
      } else {
        go_down_locked(lane_peer_gone());
      }
    } else if (!down_) {
      take_batch_locked(incoming_);
    }
    incoming_.Clear();
    note_news_locked();
    advance(lock);
  }
  if (tell) call_notify();
}

void LaneCore::on_written(bool ok) {
  bool tell = false;
  {
    std::unique_lock lock(mutex_);
    writing_ = false;
    outgoing_.Clear();
    outbox_bytes_ -= std::exchange(writing_bytes_, 0);
    if (!ok) {
      write_ended_ = true;
      outbox_.clear();
      if (!stream_->says_last() && !down_) {
        go_down_locked(lane_peer_gone());
        tell = true;
      }
    }
    tell = room_to_tell_locked() || tell;
    advance(lock);
  }
  if (tell) call_notify();
}

void LaneCore::on_writes_done(bool) {
  std::unique_lock lock(mutex_);
  writing_ = false;
  advance(lock);
}

void LaneCore::on_finished(bool) {
  bool tell = false;
  {
    std::unique_lock lock(mutex_);
    finished_ = true;
    tell = !down_;
    if (!down_) go_down_locked(broken_(stream_->status()));
    if (lingers_) linger_.Cancel();
  }
  if (tell) call_notify();
}

void LaneCore::on_linger(bool ok) {
  // Not ok: it was cancelled, as the call has ended.
  if (ok) stream_->cancel();
}

/// False: it is no large message alone.
bool LaneCore::take_parts_locked(grpc::ByteBuffer& buffer) {
  const std::size_t bytes = buffer.Length();
  if (bytes < kKeepPartsBytes) return false;
  Arrived message;
  if (!buffer.Dump(&message.parts).ok() || message.parts.empty()) return false;
  if (bytes / message.parts.size() < kPartBytesMin) return false;
  const auto at = lone_message_at(view(message.parts.front()), bytes);
  if (!at) return false;
  message.skipped = *at;
  message.cost = bytes + kMessageCost;
  inbox_bytes_ += message.cost;
  inbox_.push_back(std::move(message));
  return true;
}

void LaneCore::take_batch_locked(grpc::ByteBuffer& buffer) {
  if (take_parts_locked(buffer)) return;
  const std::optional<grpc::Slice> bytes = join(buffer);
  DecodedBatch batch;
  const Status decoded = bytes ? decode_batch(view(*bytes), batch) : unreadable();
  if (!decoded.ok()) {
    close_locked(decoded, decoded);
    return;
  }
  std::size_t besides = bytes->size();  // headers, and fields that are not known
  for (const auto message : batch.messages) {
    besides -= message.size();
    const std::size_t cost = message.size() + kMessageCost;
    Arrived& arrived = inbox_.emplace_back();
    arrived.owner = *bytes;
    arrived.bytes = message;
    arrived.cost = cost;
    inbox_bytes_ += cost;
  }
  // The last message holds all of the batch's memory.
  if (!batch.messages.empty()) {
    inbox_.back().cost += besides;
    inbox_bytes_ += besides;
  }
  if (batch.closed) take_words_locked(*batch.closed);
}

void LaneCore::take_words_locked(std::span<const std::byte> words) {
  Status why;
  if (!words.empty()) {
    Result<ErrorInfo> info = decode_error(words);
    why = info.ok() ? Status(std::move(info).value()) : info.status();
  }
  go_down_locked(lane_closed_by_peer(why));
  read_ended_ = !stream_->says_last();
  write_ended_ = true;
}

void LaneCore::go_down_locked(Status why) {
  if (down_) return;
  down_ = true;
  why_ = std::move(why);
  note_news_locked();
}

void LaneCore::close_locked(const Status& here, const Status& there) {
  std::string words;
  if (!there.ok()) {
    const std::vector<std::byte> bytes = encode_error(there.info(), kWordsBytesMax);
    words.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  go_down_locked(here);
  words_ = std::move(words);
  lingers_ = true;
  linger_.Set(reactor_->queue(), std::chrono::system_clock::now() + kLinger, lingering_.begin());
}

void LaneCore::note_news_locked() {
  // pairs with has_news(): that a message is in the inbox
  news_.store(!inbox_.empty() || (down_ && !down_reported_), std::memory_order_seq_cst);
}

bool LaneCore::room_to_tell_locked() {
  if (wanted_ == 0 || outbox_bytes_ + wanted_ > kLaneBufferBytes) return false;
  wanted_ = 0;
  return true;
}

void LaneCore::advance(std::unique_lock<std::mutex>& lock) {
  if (!started_ || finishing_) return;
  advance_writing(lock);
  advance_reading(lock);
  advance_ending(lock);
}

void LaneCore::advance_writing(std::unique_lock<std::mutex>& lock) {
  if (writing_ || write_ended_ || finishing_) return;
  if (!outbox_.empty()) {
    outgoing_ = next_batch_locked();
  } else if (words_) {
    const grpc::Slice words = encode_words(*std::exchange(words_, std::nullopt));
    outgoing_ = grpc::ByteBuffer(&words, 1);
    words_written_ = true;
  } else if (words_written_) {
    write_ended_ = true;
    if (!stream_->says_last()) return;
    writing_ = true;
    void* const tag = writes_done_.begin();
    lock.unlock();
    stream_->writes_done(tag);
    lock.lock();
    return;
  } else {
    return;
  }
  writing_ = true;
  void* const tag = write_.begin();
  lock.unlock();
  stream_->write(outgoing_, tag);
  lock.lock();
}

void LaneCore::advance_reading(std::unique_lock<std::mutex>& lock) {
  if (reading_ || read_ended_ || finishing_) return;
  // A lane that is down reads on, and drops it, until the other end has ended the call.
  if (!down_ && inbox_bytes_ > kReadBelowBytes) return;
  reading_ = true;
  void* const tag = read_.begin();
  lock.unlock();
  stream_->read(incoming_, tag);
  lock.lock();
}

void LaneCore::advance_ending(std::unique_lock<std::mutex>& lock) {
  if (writing_ || finishing_) return;
  // The opener hears the status once there is nothing more to read. The other end ends the call as
  // soon as there is nothing more to say.
  const bool over = stream_->says_last()
                        ? !reading_ && (read_ended_ || (write_ended_ && !words_written_))
                        : read_ended_ || write_ended_;
  if (!over) return;
  finishing_ = true;
  void* const tag = finish_.begin();
  lock.unlock();
  stream_->finish(tag);
  lock.lock();
}

grpc::ByteBuffer LaneCore::next_batch_locked() {
  std::vector<grpc::Slice> slices;
  std::size_t bytes = 0;
  while (!outbox_.empty() && slices.size() < kBatchMessagesGoal &&
         (slices.empty() || bytes + outbox_.front().size() <= kBatchBytesGoal)) {
    bytes += outbox_.front().size();
    slices.push_back(std::move(outbox_.front()));
    outbox_.pop_front();
  }
  writing_bytes_ = bytes + slices.size() * kMessageCost;
  return {slices.data(), slices.size()};
}

void LaneCore::call_notify() {
  const std::lock_guard lock(notify_mutex_);
  if (notify_) notify_();
}

std::unique_ptr<Lane> make_grpc_lane(std::shared_ptr<LaneCore> core) {
  return std::make_unique<GrpcLane>(std::move(core));
}

}  // namespace echelon
