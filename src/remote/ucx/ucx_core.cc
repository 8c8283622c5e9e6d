// SPDX-License-Identifier: Apache-2.0
#include "remote/ucx/ucx_core.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error_codec.h"
#include "remote/lane_words.h"
#include "remote/ucx/ucx_context.h"

namespace echelon {
namespace {

/// For the peer to hear how it ended.
constexpr MonotonicNs kLingerNs = 5'000'000'000;
/// For one that was refused to read why.
constexpr MonotonicNs kRefusedLingerNs = 1'000'000'000;
/// Of taken bytes that the peer is not told of yet.
constexpr std::size_t kUntoldMax = kLaneBufferBytes / 4;
static_assert(kLaneMessageBytesMax + kUcxMessageCost + kUntoldMax <= kLaneBufferBytes);
/// Messages under way: as many as cost alone allows.
constexpr std::size_t kPlacesMax = kLaneBufferBytes / kUcxMessageCost + 1;
/// Looks at UCX a poll, and before sleep.
constexpr int kPollRounds = 4;
constexpr int kSettleRounds = 16;
/// While a connection is made, UCX does not call for all that it has to do.
constexpr int kGreetingTickMs = 2;

Status words_of(std::span<const std::byte> bytes) {
  auto info = decode_error(bytes);
  return info.ok() ? Status(std::move(*info)) : info.status();
}

class UcxLane final : public Lane {
 public:
  explicit UcxLane(std::shared_ptr<UcxCore> core) : core_(std::move(core)) {}
  ~UcxLane() override { core_->abandon(); }
  LaneSend try_send(LaneSegments segments) override { return core_->try_send(segments); }
  std::size_t poll(LaneEvents& events) override { return core_->poll(events); }
  bool has_news() const override { return core_->has_news(); }
  void close(const Status& why) override { core_->close(why); }
  std::string_view implementation() const override { return "ucx"; }

 private:
  const std::shared_ptr<UcxCore> core_;
};

}  // namespace

std::unique_ptr<Lane> make_ucx_lane(std::shared_ptr<UcxCore> core) {
  return std::make_unique<UcxLane>(std::move(core));
}

// --- how it begins
// --------------------------------------------------------------------------------

Result<std::shared_ptr<UcxCore>> UcxCore::make(UcxGreeting greeting) {
  std::shared_ptr<UcxCore> core(new UcxCore(std::move(greeting)));
  ECHELON_ASSIGN_OR_RETURN(core->link_, UcxLink::make(*core));
  core->event_fd_ = core->link_->event_fd();
  return core;
}

UcxCore::~UcxCore() {
  // Before the memory that it writes to.
  link_.reset();
}

void UcxCore::set_options(LaneOptions options) {
  const std::lock_guard lock(notify_mutex_);
  notify_ = std::move(options.notify);
}

bool UcxCore::is_stranger() {
  const std::lock_guard lock(mutex_);
  return state_ == State::kGreeting;
}

Status UcxCore::connect(const sockaddr* address, socklen_t bytes, LaneRole role,
                        std::string_view token, MonotonicNs deadline_ns) {
  {
    const std::lock_guard lock(mutex_);
    ECHELON_RETURN_IF_ERROR(link_->connect(address, bytes));
    link_->send(UcxId::kHello, ucx_hello(role), std::as_bytes(std::span(token)));
  }
  ECHELON_RETURN_IF_ERROR(await_welcome(deadline_ns));
  return UcxWatch::get().add(shared_from_this());
}

Status UcxCore::await_welcome(MonotonicNs deadline_ns) {
  for (;;) {
    bool armed = false;
    {
      const std::lock_guard lock(mutex_);
      if (progress_locked(kSettleRounds)) continue;
      if (welcomed_) return *welcomed_;
      armed = link_->arm();
    }
    const MonotonicNs now = env_.now_ns();
    if (now >= deadline_ns) {
      return Status::error(Code::kDeadlineExceeded, Reason::kDeadline,
                           fmt::format("no answer from {} in time: what listens there accepts and "
                                       "says nothing, or the network drops what is sent to it",
                                       greeting_.peer));
    }
    pollfd event{event_fd_, POLLIN, 0};
    if (armed) ::poll(&event, 1, kGreetingTickMs);
  }
}

Status UcxCore::accept(ucp_conn_request_h request, MonotonicNs deadline_ns) {
  {
    const std::lock_guard lock(mutex_);
    ECHELON_RETURN_IF_ERROR(link_->accept(request));
    set_deadline_locked(deadline_ns);
  }
  return UcxWatch::get().add(shared_from_this());
}

void UcxCore::take_hello_locked(std::span<const std::byte> header,
                                std::span<const std::byte> data) {
  if (!greeting_.admit || state_ != State::kGreeting || hello_) return;
  const auto role = check_ucx_hello(header);
  Hello hello;
  if (role.ok()) {
    hello.role = *role;
    hello.token.assign(reinterpret_cast<const char*>(data.data()),
                       std::min(data.size(), kUcxControlBytesMax));
  } else {
    hello.wrong = role.status();
  }
  hello_ = std::move(hello);
}

void UcxCore::take_welcome_locked(std::span<const std::byte> header,
                                  std::span<const std::byte> data) {
  if (greeting_.admit || state_ != State::kGreeting || welcomed_) return;
  welcomed_ = check_ucx_welcome(header, data, greeting_.peer);
  if (welcomed_->ok()) state_ = State::kUp;
}

/// Answers HELLO.
void UcxCore::welcome(std::unique_lock<std::mutex>& lock) {
  const Hello hello = *std::exchange(hello_, std::nullopt);
  lock.unlock();
  const Status refused = hello.wrong.ok() ? greeting_.admit(hello.role, hello.token) : hello.wrong;
  lock.lock();
  if (state_ != State::kGreeting) {
    // It has gone meanwhile.
    lock.unlock();
    if (refused.ok()) greeting_.left(hello.role);
    lock.lock();
    return;
  }
  if (!refused.ok()) {
    const std::string_view why = refused.info().message;
    link_->send(UcxId::kWelcome, ucx_welcome(refused.code()), std::as_bytes(std::span(why)));
    go_down_locked(refused);
    state_ = State::kClosing;
    return set_deadline_locked(env_.now_ns() + kRefusedLingerNs);
  }
  state_ = State::kUp;
  set_deadline_locked(0);
  link_->send(UcxId::kWelcome, ucx_welcome(Code::kOk));
  lock.unlock();
  greeting_.let_in(hello.role, make_ucx_lane(shared_from_this()));
  lock.lock();
}

// --- out
// ------------------------------------------------------------------------------------------

std::unique_lock<std::mutex> UcxCore::lock_to_send() {
  senders_.fetch_add(1, std::memory_order_relaxed);
  std::unique_lock lock(mutex_);
  senders_.fetch_sub(1, std::memory_order_relaxed);
  return lock;
}

LaneSend UcxCore::try_send(LaneSegments segments) {
  std::size_t bytes = 0;
  for (const auto segment : segments) bytes += segment.size();
  ECHELON_CHECK(bytes <= kLaneMessageBytesMax, bytes);
  const std::size_t cost = bytes + kUcxMessageCost;
  const auto lock = lock_to_send();
  if (down_) return LaneSend::kDown;
  if (sent_cost_ - peer_took_ + cost > kLaneBufferBytes) {  // UCX-1
    wanted_ = cost;
    return LaneSend::kNoRoom;
  }
  const UcxHeader header = ucx_header({sent_, took_cost_});
  // A connection that breaks here is heard of as on_broken().
  if (!link_->send(UcxId::kMessage, header, segments, bytes)) return LaneSend::kDown;
  told_cost_ = took_cost_;
  ++sent_;
  sent_cost_ += cost;
  if (armed_.load(std::memory_order_relaxed) && !link_->sent_all()) {
    // Nobody polls, and there is more to do for it.
    armed_.store(false, std::memory_order_relaxed);
    UcxWatch::get().look();
  }
  return LaneSend::kSent;
}

bool UcxCore::note_taken_locked(std::uint64_t taken) {
  if (taken > sent_cost_) {
    bad_peer_locked("says that it took more than was sent");
    return false;
  }
  peer_took_ = std::max(peer_took_, taken);
  if (wanted_ != 0 && sent_cost_ - peer_took_ + wanted_ <= kLaneBufferBytes) {
    wanted_ = 0;
    tell_ = true;
  }
  return true;
}

void UcxCore::tell_taken_locked() {
  if (down_ || took_cost_ - told_cost_ < kUntoldMax) return;
  told_cost_ = took_cost_;
  link_->send(UcxId::kTaken, ucx_header({0, took_cost_}));
}

// --- in
// -------------------------------------------------------------------------------------------

void UcxCore::on_active(UcxId id, std::span<const std::byte> header,
                        std::span<const std::byte> data) {
  if (id == UcxId::kHello) return take_hello_locked(header, data);
  if (id == UcxId::kWelcome) return take_welcome_locked(header, data);
  const auto numbers = ucx_numbers(header);
  if (state_ == State::kGreeting) return;
  if (!numbers.ok()) return bad_peer_locked(numbers.status().info().message);
  if (id == UcxId::kClosed) return take_closed_locked(*numbers, data);
  if (down_ || !note_taken_locked(numbers->second) || id != UcxId::kMessage) return;
  Slot* const place = take_place_locked(*numbers, data.size());
  if (place == nullptr) return;
  std::copy(data.begin(), data.end(), place->data.bytes.get());
  on_fetched(numbers->first, true);
}

std::byte* UcxCore::on_offered(std::span<const std::byte> header, std::size_t bytes,
                               std::uint64_t& number) {
  const auto numbers = ucx_numbers(header);
  if (down_ || state_ != State::kUp) return nullptr;
  if (!numbers.ok()) {
    bad_peer_locked(numbers.status().info().message);
    return nullptr;
  }
  if (!note_taken_locked(numbers->second)) return nullptr;
  Slot* const place = take_place_locked(*numbers, bytes);
  number = numbers->first;
  return place == nullptr ? nullptr : place->data.bytes.get();
}

/// A place in the inbox, with memory; nullptr: the peer is cut off.
UcxCore::Slot* UcxCore::take_place_locked(UcxNumbers numbers, std::size_t bytes) {
  const std::size_t cost = bytes + kUcxMessageCost;
  const std::uint64_t at = numbers.first - first_;
  if (bytes > kLaneMessageBytesMax || came_cost_ - took_cost_ + cost > kLaneBufferBytes) {  // UCX-2
    bad_peer_locked(fmt::format("sends a message of {} bytes, for which there is no room", bytes));
    return nullptr;
  }
  if (numbers.first < first_ || at >= kPlacesMax || (at < inbox_.size() && inbox_[at].claimed)) {
    bad_peer_locked(fmt::format("sends message {}, where {} is to come", numbers.first,
                                first_ + inbox_.size()));
    return nullptr;
  }
  if (at >= inbox_.size()) inbox_.resize(at + 1);
  Slot& place = inbox_[at];
  place.data = buffers_.take(bytes);
  place.bytes = bytes;
  place.claimed = true;
  came_cost_ += cost;
  return &place;
}

void UcxCore::on_fetched(std::uint64_t number, bool ok) {
  if (!ok || number < first_ || number - first_ >= inbox_.size()) return;
  inbox_[number - first_].ready = true;
  ++arrived_;
  note_news_locked();
  hear_closed_locked();
}

bool UcxCore::progress_locked(int rounds) {
  bool any = false;
  while (rounds-- > 0 && link_ != nullptr && link_->progress()) any = true;
  // Both have heard, and nothing is under way that UCX would miss.
  if (state_ == State::kClosing && peer_closed_at_ && link_->idle()) over_locked();
  return any;
}

std::size_t UcxCore::poll(LaneEvents& events) {
  polls_.fetch_add(1, std::memory_order_relaxed);
  // Who polls again and again leaves no moment to who wants to send.
  if (senders_.load(std::memory_order_relaxed) != 0) return 0;
  std::unique_lock lock(mutex_);
  progress_locked(kPollRounds);
  bool tell = std::exchange(tell_, false);
  if (!news_.load(std::memory_order_relaxed)) {
    lock.unlock();
    if (tell) call_notify();
    return 0;
  }
  // What comes meanwhile is the next poll's, so that a busy sender does not hold the reader.
  while (!inbox_.empty() && inbox_.front().ready) {
    delivery_.push_back(std::move(inbox_.front()));
    inbox_.pop_front();
    ++first_;
  }
  lock.unlock();
  if (tell) call_notify();
  for (const Slot& slot : delivery_) events.on_message({slot.data.bytes.get(), slot.bytes});
  const std::size_t count = delivery_.size();
  lock.lock();
  for (Slot& slot : delivery_) {
    took_cost_ += slot.bytes + kUcxMessageCost;
    buffers_.give_back(std::move(slot.data));
  }
  delivery_.clear();
  tell_taken_locked();
  const bool report = down_ && !down_reported_ && (inbox_.empty() || !inbox_.front().ready);
  if (report) down_reported_ = true;
  note_news_locked();
  lock.unlock();
  if (!report) return count;
  events.on_down(why_);
  return count + 1;
}

bool UcxCore::has_news() {
  if (news_.load(std::memory_order_acquire)) return true;  // pairs with note_news_locked()
  bool tell = false;
  bool news = false;
  {
    const std::lock_guard lock(mutex_);
    news = !settle_locked();
    tell = std::exchange(tell_, false);
  }
  if (tell) call_notify();
  return news;
}

/// Does all there is to do, and has the watch wait for more. False: there is news, or no end to it.
bool UcxCore::settle_locked() {
  for (int i = 0; i < kSettleRounds; ++i) {
    progress_locked(kSettleRounds);
    if (news_.load(std::memory_order_relaxed)) return false;
    if (link_ == nullptr || state_ == State::kOver) return true;
    if (arm_locked()) return true;
  }
  return false;
}

bool UcxCore::arm_locked() {
  if (!link_->arm()) return false;
  if (!armed_.exchange(true, std::memory_order_relaxed)) UcxWatch::get().wait_for_event(*this);
  return true;
}

void UcxCore::note_news_locked() {
  const bool ready = !inbox_.empty() && inbox_.front().ready;
  // pairs with has_news()
  news_.store(ready || (down_ && !down_reported_), std::memory_order_release);
}

void UcxCore::call_notify() {
  const std::lock_guard lock(notify_mutex_);
  if (notify_) notify_();
}

// --- how it ends
// ----------------------------------------------------------------------------------

void UcxCore::close(const Status& why) {
  {
    const auto lock = lock_to_send();
    if (down_) return;
    const auto words =
        why.ok() ? std::vector<std::byte>() : encode_error(why.info(), kUcxControlBytesMax);
    end_locked(lane_closed_here(why), why.ok() ? UcxEnd::kPlain : UcxEnd::kWords, words);
  }
  call_notify();
}

void UcxCore::abandon() {
  {
    const std::lock_guard lock(notify_mutex_);
    notify_ = nullptr;
  }
  const auto lock = lock_to_send();
  if (!down_) end_locked(lane_closed_here(Status()), UcxEnd::kGone, {});
}

void UcxCore::end_locked(const Status& here, UcxEnd end, std::span<const std::byte> words) {
  const bool heard = peer_closed_at_.has_value();
  const UcxHeader header = ucx_header({sent_, static_cast<std::uint64_t>(end)});
  const bool sent = link_ != nullptr && link_->send(UcxId::kClosed, header, words);
  go_down_locked(here);
  if (!sent) return over_locked();
  state_ = heard ? State::kClosedByPeer : State::kClosing;
  set_deadline_locked(env_.now_ns() + kLingerNs);
}

void UcxCore::take_closed_locked(UcxNumbers numbers, std::span<const std::byte> words) {
  if (peer_closed_at_) return;
  peer_closed_at_ = numbers.first;
  peer_end_ = static_cast<UcxEnd>(numbers.second);
  if (peer_end_ == UcxEnd::kWords) peer_words_ = words_of(words);
  hear_closed_locked();
}

/// The peer's end counts once all is there that went before it.
void UcxCore::hear_closed_locked() {
  if (!peer_closed_at_ || state_ != State::kUp || arrived_ < *peer_closed_at_) return;
  end_locked(peer_end_ == UcxEnd::kGone ? lane_peer_gone() : lane_closed_by_peer(peer_words_),
             UcxEnd::kPlain, {});
}

void UcxCore::bad_peer_locked(std::string what) {
  if (down_) return;
  const Status why =
      Status::error(Code::kDataLoss, Reason::kBadFrame,
                    fmt::format("{} {}", greeting_.peer.empty() ? "the parent" : greeting_.peer,
                                std::move(what)));
  end_locked(why, UcxEnd::kWords, encode_error(why.info(), kUcxControlBytesMax));
}

void UcxCore::on_broken(ucs_status_t why) {
  if (state_ == State::kGreeting && !welcomed_) welcomed_ = connect_error(why);
  if (!down_ && peer_closed_at_) {
    go_down_locked(lane_closed_by_peer(peer_words_));
  } else {
    go_down_locked(lane_peer_gone());
  }
  over_locked();
}

Status UcxCore::connect_error(ucs_status_t why) const {
  return Status::error(
      Code::kUnavailable, Reason::kSystem,
      fmt::format("cannot reach {}: nobody listens there, or something else that does not speak "
                  "UCX ({})",
                  greeting_.peer, ucs_status_string(why)));
}

void UcxCore::go_down_locked(Status why) {
  if (down_) return;
  down_ = true;
  tell_ = true;
  why_ = std::move(why);
  note_news_locked();
}

/// The watch lets go of it.
void UcxCore::over_locked() {
  state_ = State::kOver;
  set_deadline_locked(1);
}

void UcxCore::set_deadline_locked(MonotonicNs when) {
  deadline_.store(when, std::memory_order_relaxed);
  if (when != 0) UcxWatch::get().look();
}

// --- the watch's
// ----------------------------------------------------------------------------------

bool UcxCore::tend(Why why) {
  const std::uint32_t polls = polls_.load(std::memory_order_relaxed);
  if (std::exchange(polls_seen_, polls) != polls && why == Why::kTick) return true;
  std::unique_lock lock(mutex_);
  if (why == Why::kEvent) armed_.store(false, std::memory_order_relaxed);
  if (why == Why::kDeadline && env_.now_ns() >= deadline_.load(std::memory_order_relaxed)) {
    if (state_ != State::kUp) state_ = State::kOver;
  }
  const bool had_news = news_.load(std::memory_order_relaxed);
  if (state_ != State::kOver) progress_locked(kSettleRounds);
  while (hello_) welcome(lock);
  // What is being connected stays polled (kGreetingTickMs).
  if (state_ != State::kOver && state_ != State::kGreeting) settle_locked();
  // With news, who sleeps is called, and polls; where nobody comes, the next look is a tick.
  const bool news = news_.load(std::memory_order_relaxed);
  if (why == Why::kTick && news && state_ != State::kOver) arm_locked();
  const bool over = state_ == State::kOver;
  if (over) go_down_locked(lane_peer_gone());
  const bool tell = std::exchange(tell_, false) || (news && !had_news);
  lock.unlock();
  if (tell) call_notify();
  return !over;
}

void UcxCore::release() {
  const std::lock_guard lock(mutex_);
  link_.reset();
}

}  // namespace echelon
