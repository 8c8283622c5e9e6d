// SPDX-License-Identifier: Apache-2.0
#include "remote/daemon.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/env.h"
#include "base/syscall.h"
#include "process/child_connection.h"
#include "process/liveness.h"
#include "process/local_endpoint.h"
#include "process/output_relay.h"
#include "process/payload.h"
#include "process/spawner.h"
#include "process/worker_pools.h"
#include "remote/descriptors.h"
#include "remote/held_session.h"
#include "remote/manifest_check.h"
#include "shm/doorbell.h"
#include "shm/segment.h"

namespace echelon {
namespace {

using std::chrono::milliseconds;

/// Between asking a session to end and killing it: what a Worker of its level takes to end all that
/// is below it, at most.
constexpr milliseconds kEndPatienceOfLevel{600};
constexpr milliseconds kEndPatience{900};
constexpr milliseconds kEndPatienceMax =
    kEndPatience + kEndPatienceOfLevel * (kSessionLevelMax - 2);
/// For reaping after the kill.
constexpr milliseconds kReapPatience{1000};
/// For what was printed last.
constexpr milliseconds kPrintPatience{300};
static_assert(kEndPatienceMax + kReapPatience + kPrintPatience <= std::chrono::seconds(5));

/// Without futex_waitv the doorbell alone can be slept on: liveness words are looked at so often.
constexpr MonotonicNs kNoWaitvNs = 5'000'000;
/// While output waits for its reader.
constexpr MonotonicNs kPrintAgainNs = 20'000'000;

MonotonicNs ns(std::chrono::nanoseconds duration) {
  return static_cast<MonotonicNs>(duration.count());
}

void take_sooner(MonotonicNs& until, MonotonicNs other) {
  if (other != 0 && (until == 0 || other < until)) until = other;
}

std::string machine_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

/// One line, whatever those who said it put in.
std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n') {
      line += "\\n";
    } else {
      line += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
    }
  }
  return line;
}

std::string time_text() {
  const auto now = std::chrono::time_point_cast<milliseconds>(std::chrono::system_clock::now());
  const auto ms = now.time_since_epoch().count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms);
}

}  // namespace

struct Daemon::State final : SpawnerEvents {
  struct Opening;
  explicit State(DaemonOptions given)
      : options(std::move(given)), relay(options.stdout_fd, options.stderr_fd) {}

  const DaemonOptions options;
  std::string host;
  SystemEnv env;
  WorkerPools pools;
  Segment doorbell_segment;
  Doorbell doorbell;
  std::unique_ptr<Spawner> spawner;
  std::thread keeper;
  std::atomic<bool> stopping{false};

  mutable std::mutex mutex;  // guards all below
  std::condition_variable ended;
  std::map<std::uint64_t, std::shared_ptr<HeldSession>> sessions;  // by call
  std::uint64_t memory_in_use = 0;
  std::uint64_t last_number = 0;
  Status refusal;  // of every further session

  std::mutex relay_mutex;  // guards both below
  OutputRelay relay;
  std::uint64_t dropped_bytes = 0;

  // The keeper's, kept for their memory.
  std::vector<std::shared_ptr<HeldSession>> held;
  std::vector<HeldSession*> dead;
  std::vector<FutexWaiter> words;

  Status set_up();
  Status open(std::uint64_t call, SessionManifest manifest, std::shared_ptr<SessionTicket> ticket);
  Result<std::uint64_t> admit_locked(std::uint64_t call, const SessionManifest& manifest) const;
  Result<Opening> prepare(const SessionManifest& manifest, std::uint64_t number);
  HeldSessionOptions holding(const SessionManifest& manifest, std::uint64_t number);
  void run();
  MonotonicNs attend(MonotonicNs now);
  void arm();
  void sleep(MonotonicNs until);
  void forget_ended();
  std::shared_ptr<HeldSession> find(ChildIndex index);
  void refuse_from_now(const Status& why);
  void log(std::string_view line);
  void print(OutputStream stream, std::string_view text);
  bool flush();
  void stop_keeper();

  // SpawnerEvents
  void on_spawned(ChildIndex child, pid_t pid) override;
  void on_exited(ChildIndex child, const ExitReport& report) override;
  void on_output(ChildIndex child, OutputStream stream, std::string_view text) override;
  void on_spawn_failed(ChildIndex child, const Status& why) override;
  void on_lost(const Status& why) override;
};

// --- opening
// --------------------------------------------------------------------------------------

Status Daemon::State::set_up() {
  host = options.host.empty() ? machine_name() : options.host;
  MapOptions unforked;
  unforked.dont_fork = true;
  ECHELON_ASSIGN_OR_RETURN(doorbell_segment,
                           Segment::create("echelon-doorbell", sizeof(DoorbellData), unforked));
  doorbell = Doorbell(*reinterpret_cast<DoorbellData*>(doorbell_segment.data()));
  SpawnerOptions spawning;
  spawning.uid = Uid{env.random_nonzero()};
  spawning.name = "daemon";
  spawning.path = "daemon";
  spawning.worker_main = options.session_main;
  spawning.runner = options.runner;
  spawning.doorbell_fd = doorbell_segment.fd();
  ECHELON_ASSIGN_OR_RETURN(spawner, Spawner::fork(std::move(spawning)));
  // Signals are the main thread's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  keeper = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return {};
}

Result<std::uint64_t> Daemon::State::admit_locked(std::uint64_t call,
                                                  const SessionManifest& manifest) const {
  ECHELON_RETURN_IF_ERROR(refusal);
  if (sessions.contains(call)) {
    return Status::error(Code::kInternal, Reason::kInternal,
                         fmt::format("call {} has a session already", call));
  }
  return admit_session(options.rules, manifest, {sessions.size(), memory_in_use});
}

/// A child that is not spawned yet.
struct Daemon::State::Opening {
  ChildSpec spec;
  std::unique_ptr<LocalEndpoint> endpoint;
  UniqueFd edge_end;
  std::shared_ptr<const Payload> manifest;

  ChildFds fds(int doorbell_fd) const {
    return {endpoint->channel().fd(), edge_end.get(), doorbell_fd, manifest->fd()};
  }
};

Result<Daemon::State::Opening> Daemon::State::prepare(const SessionManifest& manifest,
                                                      std::uint64_t number) {
  Opening opening;
  opening.spec.index = ChildIndex{static_cast<std::uint32_t>(number)};
  opening.spec.kind = ChildKind::kWorker;
  opening.spec.uid = Uid{env.random_nonzero()};
  opening.spec.path = manifest.path;
  opening.spec.name = manifest.name;
  opening.spec.in_runner = manifest.runtime == SessionRuntime::kPython;
  LocalEndpointOptions child;
  child.index = opening.spec.index;
  child.kind = opening.spec.kind;
  child.path = manifest.path;
  child.host = host;
  child.unresponsive_after = manifest.unresponsive_after;
  child.watch_idle = true;
  ECHELON_ASSIGN_OR_RETURN(opening.manifest,
                           Payload::make_file(options.encode_manifest(manifest), MemfdUse::kData));
  ECHELON_ASSIGN_OR_RETURN(ChannelParent channel,
                           ChannelParent::create(opening.spec.uid, channel_build_id()));
  ECHELON_RETURN_IF_ERROR(
      init_liveness(*reinterpret_cast<LivenessData*>(channel.liveness().data())));
  ECHELON_ASSIGN_OR_RETURN(FdPair sockets, create_socketpair());
  opening.edge_end = std::move(sockets.second);
  opening.endpoint = std::make_unique<LocalEndpoint>(
      child, std::move(channel),
      std::make_unique<TreeEdge>(std::move(sockets.first), opening.spec.uid, pools), *spawner, env);
  return opening;
}

HeldSessionOptions Daemon::State::holding(const SessionManifest& manifest, std::uint64_t number) {
  HeldSessionOptions with;
  with.number = number;
  with.host = host;
  with.memory_bytes = manifest.memory_bytes_max;
  with.start_deadline = manifest.start_deadline;
  with.end_patience = kEndPatience + kEndPatienceOfLevel * (manifest.level - 2);
  with.log = [this, prefix = fmt::format("session {} ({})", number, manifest.path)](
                 std::string_view what) { log(fmt::format("{} {}", prefix, what)); };
  return with;
}

Status Daemon::State::open(std::uint64_t call, SessionManifest manifest,
                           std::shared_ptr<SessionTicket> ticket) {
  std::unique_lock lock(mutex);
  ECHELON_ASSIGN_OR_RETURN(manifest.memory_bytes_max, admit_locked(call, manifest));
  const std::uint64_t number = ++last_number;
  lock.unlock();
  ECHELON_RETURN_IF_ERROR(check_descriptors(kDescriptorsOfSession));
  ECHELON_ASSIGN_OR_RETURN(Opening opening, prepare(manifest, number));
  const ChildFds fds = opening.fds(doorbell_segment.fd());
  auto session = std::make_shared<HeldSession>(
      holding(manifest, number), std::move(opening.endpoint), std::move(ticket), env.now_ns());
  lock.lock();
  // Once more: others were opened meanwhile.
  ECHELON_ASSIGN_OR_RETURN(manifest.memory_bytes_max, admit_locked(call, manifest));
  ECHELON_RETURN_IF_ERROR(spawner->spawn(opening.spec, fds));
  sessions[call] = std::move(session);
  memory_in_use += manifest.memory_bytes_max;
  log(fmt::format("session {} ({}) opened: level {}, {} sub-workers, {} chips, {} bytes; {} of {}",
                  number, manifest.path, manifest.level, manifest.sub_workers,
                  manifest.chips.size(), manifest.memory_bytes_max, sessions.size(),
                  options.rules.sessions_max));
  doorbell.wake_keeper();
  return {};
}

// --- the keeper
// -----------------------------------------------------------------------------------

void Daemon::State::run() {
  ::pthread_setname_np(::pthread_self(), "keeper");
  // pairs with stop_keeper()
  while (!stopping.load(std::memory_order_acquire)) {
    arm();
    sleep(attend(env.now_ns()));
  }
}

// Before anything is looked at: what changes after that, a new session included, ends the sleep.
void Daemon::State::arm() {
  words.clear();
  words.push_back(doorbell.waiter(DoorbellSleeper::kKeeper));
  {
    const std::lock_guard lock(mutex);
    held.clear();
    for (const auto& [call, session] : sessions) held.push_back(session);
  }
  const auto watch = [this](LivenessWatch& liveness) {
    const LivenessWatch::Armed armed = liveness.arm();
    if (armed.state != LivenessState::kOwnerDied && words.size() < kFutexWaitersMax) {
      words.push_back({&liveness.word(), armed.expected});
    }
  };
  if (!spawner->lost()) watch(spawner->liveness());
  for (const auto& session : held) {
    if (!session->endpoint().gone()) watch(session->endpoint().liveness());
  }
}

MonotonicNs Daemon::State::attend(MonotonicNs now) {
  // The words are read before the spawner's socket, so that the death of the spawner is told before
  // those that follow from it.
  dead.clear();
  for (const auto& session : held) {
    LocalEndpoint& endpoint = session->endpoint();
    const bool ended_now =
        !endpoint.gone() && endpoint.liveness().state() == LivenessState::kOwnerDied;
    if (ended_now) dead.push_back(session.get());
  }
  spawner->poll(*this);
  for (HeldSession* session : dead) session->endpoint().note_owner_died();
  MonotonicNs next = 0;
  for (const auto& session : held) take_sooner(next, session->step(now));
  forget_ended();
  if (!flush()) take_sooner(next, now + kPrintAgainNs);
  return next;
}

void Daemon::State::sleep(MonotonicNs until) {
  // pairs with stop_keeper(): the word was read before this, so a later stop changes it
  if (stopping.load(std::memory_order_acquire)) return;
  if (futex_waitv(words, until).ok()) return;
  take_sooner(until, env.now_ns() + kNoWaitvNs);
  static_cast<void>(futex_wait(*words[0].word, words[0].expected, until));
}

void Daemon::State::forget_ended() {
  const std::lock_guard lock(mutex);
  const std::size_t forgotten = std::erase_if(sessions, [this](const auto& entry) {
    if (!entry.second->over()) return false;
    memory_in_use -= entry.second->options().memory_bytes;
    return true;
  });
  if (forgotten != 0) ended.notify_all();
}

std::shared_ptr<HeldSession> Daemon::State::find(ChildIndex index) {
  const std::lock_guard lock(mutex);
  for (const auto& [call, session] : sessions) {
    if (session->endpoint().options().index == index) return session;
  }
  return nullptr;
}

void Daemon::State::stop_keeper() {
  if (!keeper.joinable()) return;
  // pairs with run()'s loads; the ring makes it look
  stopping.store(true, std::memory_order_release);
  doorbell.wake_keeper();
  keeper.join();
}

// --- what the spawner reports
// ---------------------------------------------------------------------

void Daemon::State::on_spawned(ChildIndex child, pid_t pid) {
  if (const auto session = find(child)) session->endpoint().note_spawned(pid);
}

void Daemon::State::on_exited(ChildIndex child, const ExitReport& report) {
  if (const auto session = find(child)) session->endpoint().note_exited(report);
}

void Daemon::State::on_spawn_failed(ChildIndex child, const Status& why) {
  if (const auto session = find(child)) session->endpoint().note_spawn_failed(why);
}

void Daemon::State::on_output(ChildIndex child, OutputStream stream, std::string_view text) {
  const auto session = find(child);
  const std::string of = session != nullptr      ? session->endpoint().path()
                         : child == kRunnerIndex ? "runner that was kept ready"
                                                 : "?";
  std::string marked;
  while (!text.empty()) {
    const std::size_t line = std::min(text.find('\n'), text.size() - 1) + 1;
    marked += fmt::format("[{}] {}", of, text.substr(0, line));
    text.remove_prefix(line);
  }
  print(stream, marked);
}

void Daemon::State::on_lost(const Status& why) {
  refuse_from_now(why);
  log(fmt::format("no session can be opened any more: {}", describe(why.info())));
  std::vector<std::shared_ptr<HeldSession>> all;
  {
    const std::lock_guard lock(mutex);
    for (const auto& [call, session] : sessions) all.push_back(session);
  }
  // What a session's parent hears is of the session, not of a process that is in no tree.
  ErrorInfo info = why.info();
  info.path.clear();
  info.pid = 0;
  info.message = "its daemon: " + info.message;
  for (const auto& session : all) session->endpoint().note_spawner_lost(Status(info));
  if (options.on_lost) options.on_lost(why);
}

void Daemon::State::refuse_from_now(const Status& why) {
  const std::lock_guard lock(mutex);
  if (refusal.ok()) refusal = why;
}

// --- output
// ---------------------------------------------------------------------------------------

void Daemon::State::log(std::string_view line) {
  if (options.log) {
    print(OutputStream::kStderr,
          fmt::format("{} echelon daemon: {}\n", time_text(), one_line(line)));
  }
}

// A reader that does not read holds up nothing here: what has no room is left out, and counted.
void Daemon::State::print(OutputStream stream, std::string_view text) {
  const std::lock_guard lock(relay_mutex);
  if (relay.full()) {
    dropped_bytes += text.size();
    return;
  }
  if (dropped_bytes != 0) {
    relay.add(OutputStream::kStderr, fmt::format("echelon daemon: {} bytes of output were left "
                                                 "out, as nobody read them\n",
                                                 std::exchange(dropped_bytes, 0)));
  }
  relay.add(stream, text);
  relay.flush();
}

bool Daemon::State::flush() {
  const std::lock_guard lock(relay_mutex);
  return relay.flush();
}

// --- the daemon
// -----------------------------------------------------------------------------------

Result<std::unique_ptr<Daemon>> Daemon::start(DaemonOptions options) {
  if (!options.session_main || !options.encode_manifest) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         "a daemon without a session_main, or without what encodes its manifest");
  }
  if (options.rules.memory_bytes_max == 0) {
    options.rules.memory_bytes_max = default_session_memory();
  }
  auto state = std::make_unique<State>(std::move(options));
  ECHELON_RETURN_IF_ERROR(state->set_up());
  return std::unique_ptr<Daemon>(new Daemon(std::move(state)));
}

Daemon::Daemon(std::unique_ptr<State> state) : state_(std::move(state)) {}

Daemon::~Daemon() {
  close(Status::error(Code::kUnavailable, Reason::kCancelled, "the daemon ends"));
}

Status Daemon::open_session(std::uint64_t call, SessionManifest manifest,
                            std::shared_ptr<SessionTicket> ticket) {
  const std::string path = manifest.path;
  const Status opened = state_->open(call, std::move(manifest), std::move(ticket));
  if (opened.ok()) return opened;
  ErrorInfo info = opened.info();
  if (info.path.empty()) info.path = path;
  if (info.host.empty()) info.host = state_->host;
  state_->log(fmt::format("session ({}) refused: {}", path, info.message));
  return Status(std::move(info));
}

void Daemon::close_session(std::uint64_t call, std::string_view why) {
  const std::lock_guard lock(state_->mutex);
  const auto it = state_->sessions.find(call);
  if (it == state_->sessions.end()) return;
  ErrorInfo info;
  info.code = Code::kCancelled;
  info.reason = Reason::kCancelled;
  info.cause = Cause::kCancelled;
  info.path = it->second->endpoint().path();
  info.pid = it->second->endpoint().pid();
  info.host = state_->host;
  info.message = fmt::format("the session was ended: {}", why);
  it->second->ask_end(Status(std::move(info)));
  state_->doorbell.wake_keeper();
}

bool Daemon::serving() const {
  const std::lock_guard lock(state_->mutex);
  return state_->refusal.ok();
}

std::size_t Daemon::session_count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->sessions.size();
}

pid_t Daemon::spawner_pid() const {
  return state_->spawner->pid();
}

Status Daemon::admit_call() {
  const std::lock_guard lock(state_->mutex);
  ECHELON_RETURN_IF_ERROR(state_->refusal);
  const Status room = check_session_count(state_->options.rules, state_->sessions.size());
  if (!room.ok()) state_->log(fmt::format("a session is refused: {}", room.info().message));
  return room;
}

std::uint64_t Daemon::manifest_bytes_max() const {
  return state_->options.rules.memory_bytes_max;
}

void Daemon::warn(std::string_view line) {
  state_->log(fmt::format("WARNING: {}", line));
}

void Daemon::log(std::string_view line) {
  state_->log(line);
}

void Daemon::close(const Status& why) {
  State& state = *state_;
  if (!state.keeper.joinable()) return;
  state.refuse_from_now(why);
  {
    std::unique_lock lock(state.mutex);
    for (const auto& [call, session] : state.sessions) session->ask_end(why);
    state.doorbell.wake_keeper();
    state.ended.wait_for(lock, kEndPatienceMax, [&state] { return state.sessions.empty(); });
  }
  state.stop_keeper();
  state.spawner->begin_shutdown(milliseconds(0));
  static_cast<void>(state.spawner->reap_until(state.env.now_ns() + ns(kReapPatience), state));
  for (const auto& [call, session] : state.sessions) {
    session->step(state.env.now_ns());
    session->give_up(why);
  }
  const std::lock_guard lock(state.relay_mutex);
  state.relay.drain_until(state.env.now_ns() + ns(kPrintPatience), state.env);
}

}  // namespace echelon
