// SPDX-License-Identifier: Apache-2.0
#include "remote/peer_links.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/env.h"
#include "remote/data_client.h"
#include "remote/data_server.h"
#include "remote/lane_sleeper.h"
#include "shm/waiter.h"

namespace echelon {
namespace {

/// Transfers that one peer may be granted at a time.
constexpr std::size_t kGrantsMax = 1024;
/// Orders that wait for the thread; a parent sends an answered few.
constexpr std::size_t kOrdersMax = 4096;

Status not_for_peers(std::string_view what) {
  return Status::error(Code::kPermissionDenied, Reason::kForeignHandle,
                       fmt::format("a session's peer may not {}", what));
}

Status no_such_link() {
  return Status::error(Code::kUnavailable, Reason::kWrongState,
                       "the link between the two sessions is down");
}

/// Of the same elements.
bool same(const TensorDesc& a, const TensorDesc& b) {
  return a.issuer == b.issuer && a.buffer == b.buffer && a.home == b.home && a.offset == b.offset &&
         a.dtype == b.dtype && a.rank == b.rank && a.extent == b.extent && a.stride == b.stride;
}

/// What a peer reaches of a session's memory: what its parent has granted.
class Granted final : public SessionMemory {
 public:
  explicit Granted(SessionMemory& of) : of_(of) {}

  Result<TensorDesc> allocate(std::span<const std::int64_t>, DType, bool) override {
    return not_for_peers("allocate");
  }
  Status free(BufferId) override { return not_for_peers("free memory"); }
  Result<std::byte*> open(const TensorDesc& tensor, Access want) override {
    const bool granted = std::any_of(grants_.begin(), grants_.end(),
                                     [&](const auto& one) { return same(one.second, tensor); });
    if (!granted || want != Access::kWrite) {
      return not_for_peers("write to a tensor that its parent has not granted it");
    }
    return of_.open(tensor, want);
  }

  Status grant(std::uint64_t id, const TensorDesc& tensor) {
    if (grants_.size() >= kGrantsMax) return bad_message("too many grants at once");
    if (!grants_.emplace(id, tensor).second) return bad_message("a grant that is there already");
    return of_.open(tensor, Access::kWrite).status();
  }
  void revoke(std::uint64_t id) { grants_.erase(id); }

 private:
  SessionMemory& of_;
  std::map<std::uint64_t, TensorDesc> grants_;
};

/// From a peer.
struct Incoming {
  explicit Incoming(SessionMemory& memory) : granted(memory) {}
  Granted granted;
  MonotonicNs until = 0;       // to connect
  std::unique_ptr<Lane> lane;  // nullptr: not connected yet
  std::unique_ptr<DataServer> server;
};

/// To a peer.
struct Outgoing {
  DataClient client;
  std::thread connecting;
  std::uint64_t connect_request = 0;
  bool connected = false;
  std::vector<std::uint64_t> pushes;  // requests under way
};

/// An order of the parent's, or what a thread or the transport brings.
struct Order {
  DataMessage message;
  std::vector<std::byte> bytes;     // what the message's view was of
  std::unique_ptr<Lane> lane;       // a peer's, or one to a peer
  std::optional<Status> connected;  // how connecting the link `message.offset` ended
};

}  // namespace

struct PeerLinks::State {
  State(SessionMemory& of, std::function<void()> to_call)
      : memory(of), answered(std::move(to_call)) {}

  void put(Order order);
  void run();
  void answer(DataKind kind, std::uint64_t request, const Status& status);
  bool take_orders();
  void take(Order order);
  void expect(const DataMessage& message);
  void connect(const DataMessage& message);
  void connected(Order order);
  void attach(std::uint64_t link, std::unique_ptr<Lane> lane);
  Status grant(const DataMessage& message);
  Status push(const DataMessage& message);
  bool pump_incoming();
  bool pump_outgoing();
  void end_pushes(Outgoing& link);
  bool pending() const;

  SessionMemory& memory;
  const std::function<void()> answered;
  PeerPlace place;
  SystemEnv env;
  const std::shared_ptr<LaneSleeper> sleeper = std::make_shared<LaneSleeper>();
  std::atomic<bool> stopped{false};
  std::atomic<bool> ordered{false};
  std::atomic<bool> has_answers{false};

  std::mutex mutex;  // guards these four
  std::thread thread;
  std::vector<Order> orders;
  std::vector<Answer> answers;
  bool ending = false;

  // The thread's.
  std::map<std::uint64_t, std::unique_ptr<Incoming>> incoming;
  std::map<std::uint64_t, std::unique_ptr<Outgoing>> outgoing;
};

PeerLinks::PeerLinks(SessionMemory& memory, std::function<void()> answered)
    : state_(std::make_unique<State>(memory, std::move(answered))) {}

PeerLinks::~PeerLinks() {
  State& state = *state_;
  std::thread thread;
  {
    const std::lock_guard lock(state.mutex);
    state.ending = true;
    thread = std::move(state.thread);
  }
  // pairs with the seq_cst load in pending(): the sleeper sees it, or is woken
  state.stopped.store(true, std::memory_order_seq_cst);
  state.sleeper->poke();
  if (thread.joinable()) thread.join();
  const Status why = no_such_link();
  for (auto& [id, link] : state.outgoing) {
    if (link->connecting.joinable()) link->connecting.join();
    link->client.close(why);
    link->client.destroy_lane();
  }
}

void PeerLinks::set_place(PeerPlace place) {
  state_->place = std::move(place);
}

LaneOptions PeerLinks::lane_options() const {
  return poking(state_->sleeper);
}

Status PeerLinks::take(const DataMessage& message) {
  Order order;
  order.message = message;
  order.bytes.assign(message.bytes.begin(), message.bytes.end());
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->orders.size() >= kOrdersMax) return bad_message("too many orders at once");
  }
  state_->put(std::move(order));
  return {};
}

void PeerLinks::accept(std::uint64_t link, std::unique_ptr<Lane> lane) {
  Order order;
  order.message.kind = DataKind::kExpected;  // no order of the parent's
  order.message.offset = link;
  order.lane = std::move(lane);
  state_->put(std::move(order));
}

std::vector<PeerLinks::Answer> PeerLinks::take_answers() {
  const std::lock_guard lock(state_->mutex);
  state_->has_answers.store(false, std::memory_order_relaxed);
  return std::exchange(state_->answers, {});
}

bool PeerLinks::has_answers() const {
  return state_->has_answers.load(std::memory_order_seq_cst);  // pairs with answer()
}

void PeerLinks::State::put(Order order) {
  {
    const std::lock_guard lock(mutex);
    if (ending) return;
    orders.push_back(std::move(order));
    ordered.store(true, std::memory_order_seq_cst);  // pairs with pending()
    if (!thread.joinable()) {
      // Signals are the executor's.
      sigset_t all;
      sigset_t before;
      sigfillset(&all);
      ::pthread_sigmask(SIG_SETMASK, &all, &before);
      thread = std::thread([this] {
        ::pthread_setname_np(::pthread_self(), "peer lanes");
        run();
      });
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
  }
  sleeper->poke();
}

void PeerLinks::State::answer(DataKind kind, std::uint64_t request, const Status& status) {
  {
    const std::lock_guard lock(mutex);
    answers.push_back({kind, request, status});
    has_answers.store(true, std::memory_order_seq_cst);  // pairs with has_answers()
  }
  answered();
}

// --- the thread
// ----------------------------------------------------------------------------------

bool PeerLinks::State::pending() const {
  // pairs with the seq_cst stores in the destructor and in put(): a sleeper sees them, or is woken
  if (stopped.load(std::memory_order_seq_cst) || ordered.load(std::memory_order_seq_cst)) {
    return true;
  }
  for (const auto& [id, link] : incoming) {
    if (link->server != nullptr && link->server->has_news()) return true;
  }
  return std::any_of(outgoing.begin(), outgoing.end(), [](const auto& one) {
    return one.second->connected && one.second->client.has_come();
  });
}

void PeerLinks::State::run() {
  SpinPolicy spin(env);
  while (!stopped.load(std::memory_order_relaxed)) {
    sleeper->look();
    bool moved = take_orders();
    moved = pump_incoming() || moved;
    moved = pump_outgoing() || moved;
    if (moved) {
      spin.restart();
    } else if (spin.step() == SpinStep::kSleep) {
      sleeper->sleep([this] { return pending(); }, 0);
      spin.restart();
    }
  }
}

bool PeerLinks::State::take_orders() {
  if (!ordered.load(std::memory_order_relaxed)) return false;
  std::vector<Order> taken;
  {
    const std::lock_guard lock(mutex);
    ordered.store(false, std::memory_order_relaxed);
    taken.swap(orders);
  }
  for (Order& order : taken) take(std::move(order));
  return true;
}

void PeerLinks::State::take(Order order) {
  DataMessage& message = order.message;
  message.bytes = order.bytes;
  if (order.connected) return connected(std::move(order));
  switch (message.kind) {
    case DataKind::kExpect:
      return expect(message);
    case DataKind::kConnect:
      return connect(message);
    case DataKind::kGrant:
      return answer(DataKind::kGranted, message.request, grant(message));
    case DataKind::kRevoke: {
      const auto found = incoming.find(message.offset);
      if (found != incoming.end()) found->second->granted.revoke(message.length);
      return answer(DataKind::kRevoked, message.request, Status());
    }
    case DataKind::kPush: {
      const Status begun = push(message);
      if (!begun.ok()) answer(DataKind::kPushed, message.request, begun);
      return;
    }
    default:
      return attach(message.offset, std::move(order.lane));
  }
}

// --- from peers
// ----------------------------------------------------------------------------------

void PeerLinks::State::expect(const DataMessage& message) {
  const MonotonicNs now = env.now_ns();
  std::erase_if(incoming, [now](const auto& one) {
    return one.second->lane == nullptr && one.second->until < now;
  });
  Status status;
  if (!place.expect) {
    status = not_for_peers("connect here");
  } else if (incoming.size() >= kPeerLinksMax || incoming.contains(message.offset)) {
    status = Status::error(Code::kResourceExhausted, Reason::kExhausted,
                           fmt::format("{} links from peers are the most", kPeerLinksMax));
  } else {
    auto& made = *incoming.emplace(message.offset, std::make_unique<Incoming>(memory)).first;
    made.second->until =
        now + static_cast<MonotonicNs>(std::chrono::nanoseconds(kPeerTokenLife).count());
    const std::string token(reinterpret_cast<const char*>(message.bytes.data()),
                            message.bytes.size());
    status = place.expect(token, message.offset, kPeerTokenLife);
    if (!status.ok()) incoming.erase(message.offset);
  }
  answer(DataKind::kExpected, message.request, status);
}

void PeerLinks::State::attach(std::uint64_t link, std::unique_ptr<Lane> lane) {
  const auto found = incoming.find(link);
  if (found == incoming.end() || found->second->lane != nullptr) return;
  Incoming& from = *found->second;
  from.lane = std::move(lane);
  from.server = std::make_unique<DataServer>(from.granted, *from.lane, DataServer::Of::kPeer);
}

Status PeerLinks::State::grant(const DataMessage& message) {
  const auto found = incoming.find(message.offset);
  if (found == incoming.end()) return no_such_link();
  return found->second->granted.grant(message.length, message.tensor);
}

bool PeerLinks::State::pump_incoming() {
  bool moved = false;
  for (auto it = incoming.begin(); it != incoming.end();) {
    Incoming& from = *it->second;
    if (from.server != nullptr && from.server->pump()) moved = true;
    const bool ended = from.server != nullptr && !from.server->failed().ok();
    if (ended) from.lane->close(from.server->failed());
    it = ended ? incoming.erase(it) : std::next(it);
  }
  return moved;
}

// --- to peers
// ------------------------------------------------------------------------------------

void PeerLinks::State::connect(const DataMessage& message) {
  const std::size_t address_bytes = message.length;
  const std::string text(reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size());
  if (!place.connect || outgoing.size() >= kPeerLinksMax || outgoing.contains(message.offset)) {
    return answer(DataKind::kConnected, message.request,
                  Status::error(Code::kResourceExhausted, Reason::kExhausted,
                                fmt::format("{} links to peers are the most", kPeerLinksMax)));
  }
  auto made = std::make_unique<Outgoing>();
  made->connect_request = message.request;
  const std::uint64_t link = message.offset;
  made->connecting = std::thread(
      [this, link, address = text.substr(0, address_bytes), token = text.substr(address_bytes)] {
        auto lane = place.connect(address, token, poking(sleeper));
        Order order;
        order.message.offset = link;
        order.connected = lane.status();
        if (lane.ok()) order.lane = std::move(lane).value();
        put(std::move(order));
      });
  outgoing.emplace(link, std::move(made));
}

void PeerLinks::State::connected(Order order) {
  const auto found = outgoing.find(order.message.offset);
  if (found == outgoing.end()) return;
  Outgoing& link = *found->second;
  link.connecting.join();
  answer(DataKind::kConnected, link.connect_request, *order.connected);
  if (!order.connected->ok()) {
    outgoing.erase(found);
    return;
  }
  link.client.attach(std::move(order.lane));
  link.connected = true;
}

Status PeerLinks::State::push(const DataMessage& message) {
  const auto found = outgoing.find(message.offset);
  if (found == outgoing.end() || !found->second->connected) return no_such_link();
  std::span<const std::byte> rest = message.bytes;
  RemoteCopy copy;
  Tag tag{};
  ECHELON_RETURN_IF_ERROR(decode(rest, copy.remote, tag));
  copy.local = message.tensor;
  copy.task = TaskId{message.request};
  copy.to_session = true;
  if (!rest.empty() || copy.remote.payload_bytes() != copy.local.payload_bytes() ||
      copy.remote.dtype != copy.local.dtype) {
    return Status::error(Code::kInvalidArgument, Reason::kWrongType,
                         "a copy between different tensors");
  }
  ECHELON_ASSIGN_OR_RETURN(copy.at, memory.open(copy.local, Access::kRead));
  found->second->pushes.push_back(message.request);
  found->second->client.start_copy(copy);
  return {};
}

void PeerLinks::State::end_pushes(Outgoing& link) {
  std::vector<std::pair<TaskId, Status>> ended;
  link.client.take_ended(ended);
  for (const auto& [task, status] : ended) {
    std::erase(link.pushes, task.value);
    answer(DataKind::kPushed, task.value, status);
  }
}

bool PeerLinks::State::pump_outgoing() {
  bool moved = false;
  for (auto it = outgoing.begin(); it != outgoing.end();) {
    Outgoing& link = *it->second;
    if (!link.connected) {
      ++it;
      continue;
    }
    if (link.client.pump()) moved = true;
    end_pushes(link);
    const Status failed = link.client.failed();
    if (failed.ok()) {
      ++it;
      continue;
    }
    for (const std::uint64_t request : link.pushes) {
      ErrorInfo info = failed.info();
      info.code = Code::kUnavailable;
      info.reason = Reason::kWrongState;
      info.message = "the link between the two sessions broke: " + info.message;
      answer(DataKind::kPushed, request, Status(std::move(info)));
    }
    link.client.close(failed);
    link.client.destroy_lane();
    it = outgoing.erase(it);
  }
  return moved;
}

}  // namespace echelon
