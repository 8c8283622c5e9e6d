// SPDX-License-Identifier: Apache-2.0
#include "process/spawner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <map>
#include <mutex>
#include <new>
#include <optional>

#include "base/fork_generation.h"
#include "base/mapping.h"
#include "base/syscall.h"
#include "process/death_cause.h"
#include "process/spawn_protocol.h"
#include "process/spawner_loop.h"

namespace echelon {
namespace {

// How long a request waits for a spawner that does not read.
constexpr std::chrono::milliseconds kSendPatience{1000};
// How long a killed spawner may take to end.
constexpr std::chrono::milliseconds kKillPatience{1000};
constexpr std::chrono::seconds kForkPatience{30};
constexpr MonotonicNs kNsPerMs = 1'000'000;

// Shared between a Worker and its spawner alone.
struct SpawnerSharedData {
  LivenessData liveness;
  std::atomic<std::uint32_t> started;  // 1: the spawner holds its liveness word; 2: it could not
};
static_assert(offsetof(SpawnerSharedData, started) == 64);

// An anonymous page that a fork shares. Afterwards neither side's further forks have it.
class SharedPage {
 public:
  static Result<SharedPage> make() {
    void* at =
        ::mmap(nullptr, page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return Status::from_errno(errno, "mmap(shared page)");
    SharedPage page;
    page.data_ = new (at) SpawnerSharedData{};
    return page;
  }
  SharedPage() = default;
  SharedPage(SharedPage&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  SharedPage& operator=(SharedPage&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~SharedPage() {
    if (data_ != nullptr) ::munmap(data_, page_bytes());
  }
  void keep_from_forks() { ::madvise(data_, page_bytes(), MADV_DONTFORK); }
  void leak() { data_ = nullptr; }
  SpawnerSharedData* operator->() const { return data_; }
  SpawnerSharedData& operator*() const { return *data_; }

 private:
  SpawnerSharedData* data_ = nullptr;
};

// Never 0, 1 or 2, which the spawner puts elsewhere.
Result<UniqueFd> above_stdio(int fd) {
  UniqueFd moved(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!moved) return Status::from_errno(errno, "fcntl(F_DUPFD_CLOEXEC)");
  return moved;
}

void flush_streams() {
  std::cout.flush();
  std::cerr.flush();
  std::clog.flush();
  std::fflush(nullptr);
}

[[noreturn]] void run_spawner(SpawnerBoot boot, SharedPage& page) {
  page.keep_from_forks();
  Status status = hold_liveness(page->liveness);
  SpawnerLoop loop(std::move(boot));
  if (status.ok()) status = loop.set_up();
  // pairs with the acquire load in wait_until_started: what set_up() made is there
  page->started.store(status.ok() ? 1 : 2, std::memory_order_release);
  futex_wake(page->started, 1);
  if (!status.ok()) {
    std::fprintf(stderr, "echelon: spawner: %s\n", status.to_string().c_str());
    ::_exit(1);
  }
  ::_exit(loop.run());
}

bool readable(int fd, int timeout_ms) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, timeout_ms) > 0;
}

Status wait_until_started(SpawnerSharedData& data, int pidfd) {
  SystemEnv clock;
  const MonotonicNs end =
      clock.now_ns() + static_cast<MonotonicNs>(std::chrono::nanoseconds(kForkPatience).count());
  for (;;) {
    // pairs with the release store in run_spawner
    const std::uint32_t started = data.started.load(std::memory_order_acquire);
    if (started == 1) return Status();
    const MonotonicNs now = clock.now_ns();
    if (started == 2 || now >= end || readable(pidfd, 0)) {
      return Status::error(Code::kUnavailable, Reason::kSpawnerLost,
                           "the spawner ended or hung while it started");
    }
    futex_wait(data.started, 0, std::min(end, now + 100 * kNsPerMs));
  }
}

struct KnownChild {
  pid_t pid = 0;
  UniqueFd pidfd;
  bool kill_asked = false;  // before its pidfd came
};

}  // namespace

struct Spawner::State {
  ForkMark mark;
  SharedPage page;
  std::string path;
  std::vector<std::byte> buffer = std::vector<std::byte>(kSpawnMessageBytesMax);
  UniqueFd socket;
  mutable std::mutex mutex;  // guards children
  std::map<ChildIndex, KnownChild> children;
  std::mutex send_mutex;  // one request at a time
  std::atomic<bool> lost{false};
  bool lost_reported = false;
  bool ending = false;
  bool reaped = false;

  Status send(const DownMessage& message, std::span<const int> fds);
  bool report(const UpMessage& message, std::vector<UniqueFd> fds, SpawnerEvents& events);
};

pid_t fork_with(const ForkHooks& hooks) {
  if (hooks.before) hooks.before();
  const pid_t pid = ::fork();
  const int error = errno;
  const auto& after = pid == 0 ? hooks.after_in_child : hooks.after_in_parent;
  if (after) after();
  errno = error;
  return pid;
}

Result<std::unique_ptr<Spawner>> Spawner::fork(SpawnerOptions options) {
  ECHELON_ASSIGN_OR_RETURN(SharedPage page, SharedPage::make());
  ECHELON_RETURN_IF_ERROR(init_liveness(page->liveness));
  ECHELON_ASSIGN_OR_RETURN(FdPair sockets, create_socketpair());
  SpawnerBoot boot;
  ECHELON_ASSIGN_OR_RETURN(boot.socket, above_stdio(sockets.second.get()));
  sockets.second.reset();
  ECHELON_ASSIGN_OR_RETURN(const UniqueFd own_pidfd, pidfd_open(::getpid()));
  ECHELON_ASSIGN_OR_RETURN(boot.worker_pidfd, above_stdio(own_pidfd.get()));
  if (options.doorbell_fd >= 0) {
    ECHELON_ASSIGN_OR_RETURN(boot.doorbell, above_stdio(options.doorbell_fd));
  }
  boot.worker_pid = ::getpid();
  boot.by_main_thread = ::gettid() == ::getpid();
  std::string path = options.path;
  boot.options = std::move(options);
  flush_streams();
  const pid_t pid = fork_with(boot.options.fork_hooks);
  if (pid < 0) return Status::from_errno(errno, "fork()");
  if (pid == 0) run_spawner(std::move(boot), page);
  page.keep_from_forks();
  auto pidfd = pidfd_open(pid);
  Status started = pidfd.ok() ? wait_until_started(*page, pidfd.value().get()) : pidfd.status();
  if (!started.ok()) {
    ::kill(pid, SIGKILL);  // not reaped yet, so the pid is still its
    ::waitpid(pid, nullptr, 0);
    return started;
  }
  auto state = std::make_unique<State>();
  state->socket = std::move(sockets.first);
  state->path = std::move(path);
  state->page = std::move(page);
  return std::unique_ptr<Spawner>(new Spawner(pid, std::move(pidfd).value(), std::move(state)));
}

Spawner::Spawner(pid_t pid, UniqueFd pidfd, std::unique_ptr<State> state)
    : pid_(pid),
      pidfd_(std::move(pidfd)),
      watch_(state->page->liveness),
      state_(std::move(state)) {}

Spawner::~Spawner() {
  if (state_->mark.in_forked_copy()) {
    state_->page.leak();  // the range does not exist here
    return;
  }
  if (state_->reaped) return;
  static_cast<void>(pidfd_send_signal(pidfd_.get(), SIGKILL));
  if (readable(pidfd_.get(), static_cast<int>(kKillPatience.count()))) {
    ::waitpid(pid_, nullptr, WNOHANG);
  }
}

Status Spawner::State::send(const DownMessage& message, std::span<const int> fds) {
  ECHELON_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, encode(message));
  const std::lock_guard lock(send_mutex);
  for (int tries = 0;; ++tries) {
    Status sent = send_message(socket.get(), bytes, fds, /*wait=*/false);
    if (sent.ok()) return sent;
    if (sent.code() == Code::kResourceExhausted && tries == 0) {
      pollfd one{socket.get(), POLLOUT, 0};
      ::poll(&one, 1, static_cast<int>(kSendPatience.count()));
      continue;
    }
    if (sent.code() == Code::kResourceExhausted) {
      return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                           fmt::format("{}: its spawner takes no requests", path));
    }
    return Status::error(Code::kUnavailable, Reason::kSpawnerLost,
                         fmt::format("{}: spawner lost: {}", path, sent.info().message));
  }
}

Status Spawner::spawn(const ChildSpec& spec, const ChildFds& fds) {
  if (lost()) {
    return Status::error(Code::kUnavailable, Reason::kSpawnerLost,
                         fmt::format("{}: spawner lost", state_->path));
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->children[spec.index] = KnownChild{};
  }
  const std::array<int, kSpawnFdsMax> list = {fds.channel, fds.edge, fds.doorbell, fds.payload};
  return state_->send(SpawnRequest{spec, pid_},
                      std::span(list).first(fds.payload < 0 ? kSpawnFds : kSpawnFdsMax));
}

void Spawner::kill(ChildIndex child) {
  {
    const std::lock_guard lock(state_->mutex);
    const auto it = state_->children.find(child);
    if (it == state_->children.end()) return;
    if (it->second.pidfd) {
      static_cast<void>(pidfd_send_signal(it->second.pidfd.get(), SIGKILL));
      return;
    }
    it->second.kill_asked = true;
  }
  static_cast<void>(state_->send(KillRequest{child}, {}));
}

std::size_t Spawner::poll(SpawnerEvents& events) {
  std::size_t count = 0;
  while (!state_->lost_reported) {
    // Asked before the socket is read: what a dead spawner sent is then all in it.
    const bool died = watch_.state() == LivenessState::kOwnerDied;
    auto message = receive_message(state_->socket.get(), state_->buffer, /*wait=*/false);
    if (message.ok() && message->none && !died) break;
    ++count;
    Status wrong;
    if (!message.ok()) {
      wrong = message.status();
    } else if (!message->end && !message->none) {
      auto report = message->truncated ? Status::error(Code::kDataLoss, Reason::kBadFrame,
                                                       "a truncated message from the spawner")
                                       : decode_up(std::span(state_->buffer).first(message->bytes));
      if (report.ok() && state_->report(report.value(), std::move(message->fds), events)) continue;
      wrong = report.ok() ? Status::error(Code::kDataLoss, Reason::kBadFrame,
                                          "a message from the spawner without its descriptor")
                          : report.status();
    }
    report_lost(wrong, events);
  }
  return count;
}

// False: a message that its descriptors do not fit.
bool Spawner::State::report(const UpMessage& message, std::vector<UniqueFd> fds,
                            SpawnerEvents& events) {
  if (const auto* spawned = std::get_if<SpawnedReport>(&message)) {
    if (fds.size() != 1) return false;
    {
      const std::lock_guard lock(mutex);
      KnownChild& child = children[spawned->index];
      child.pid = spawned->pid;
      child.pidfd = std::move(fds.front());
      if (child.kill_asked) static_cast<void>(pidfd_send_signal(child.pidfd.get(), SIGKILL));
    }
    events.on_spawned(spawned->index, spawned->pid);
    return true;
  }
  if (!fds.empty()) return false;
  if (const auto* exited = std::get_if<ExitedReport>(&message)) {
    {
      const std::lock_guard lock(mutex);
      children.erase(exited->index);
    }
    events.on_exited(exited->index, exited->exit);
  } else if (const auto* output = std::get_if<OutputReport>(&message)) {
    events.on_output(output->index, output->stream, output->text);
  } else if (const auto* failed = std::get_if<FailedReport>(&message)) {
    {
      const std::lock_guard lock(mutex);
      children.erase(failed->index);
    }
    events.on_spawn_failed(failed->index, failed->why);
  }
  return true;
}

void Spawner::report_lost(const Status& wrong, SpawnerEvents& events) {
  state_->lost_reported = true;
  // pairs with the acquire load in lost(): whoever sees it finds the socket drained
  state_->lost.store(true, std::memory_order_release);
  if (state_->ending && wrong.ok()) return;  // an orderly end
  ErrorInfo info;
  info.code = Code::kUnavailable;
  info.reason = Reason::kSpawnerLost;
  info.cause = Cause::kPeerLost;
  info.path = state_->path;
  info.pid = pid_;
  const auto cause = read_death_cause(pid_);
  const std::string why = !wrong.ok()         ? wrong.info().message
                          : cause.has_value() ? cause->describe()
                                              : std::string("its socket was closed");
  info.message = fmt::format("spawner lost: {}", why);
  events.on_lost(Status(std::move(info)));
}

pid_t Spawner::child_pid(ChildIndex child) const {
  const std::lock_guard lock(state_->mutex);
  const auto it = state_->children.find(child);
  return it == state_->children.end() ? 0 : it->second.pid;
}

bool Spawner::lost() const {
  // pairs with the release store in report_lost
  return state_->lost.load(std::memory_order_acquire) ||
         watch_.state() == LivenessState::kOwnerDied;
}

void Spawner::begin_shutdown(std::chrono::milliseconds kill_after) {
  state_->ending = true;
  const auto ms = static_cast<std::uint32_t>(std::max<std::int64_t>(0, kill_after.count()));
  static_cast<void>(state_->send(ShutdownRequest{ms}, {}));
}

Status Spawner::reap_until(MonotonicNs deadline_ns, SpawnerEvents& events) {
  SystemEnv clock;
  bool killed = false;
  for (;;) {
    poll(events);
    // ECHILD: somebody else's wait() has reaped it, or the user ignores SIGCHLD. It has ended.
    const pid_t got = ::waitpid(pid_, nullptr, WNOHANG);
    if (got == pid_ || (got < 0 && errno == ECHILD)) {
      poll(events);
      state_->reaped = true;
      return Status();
    }
    const MonotonicNs now = clock.now_ns();
    if (now >= deadline_ns && killed) {
      return Status::error(Code::kDeadlineExceeded, Reason::kDeadline,
                           fmt::format("{}: its spawner (pid {}) does not end, even when killed",
                                       state_->path, pid_));
    }
    if (now >= deadline_ns) {
      killed = true;
      static_cast<void>(pidfd_send_signal(pidfd_.get(), SIGKILL));
      deadline_ns = now + static_cast<MonotonicNs>(kKillPatience.count()) * kNsPerMs;
    }
    const MonotonicNs wait_ms = (deadline_ns - std::min(now, deadline_ns)) / kNsPerMs + 1;
    std::array<pollfd, 2> fds = {
        pollfd{pidfd_.get(), POLLIN, 0},
        pollfd{state_->lost_reported ? -1 : state_->socket.get(), POLLIN, 0}};
    ::poll(fds.data(), fds.size(), static_cast<int>(std::min<MonotonicNs>(wait_ms, 1000)));
  }
}

}  // namespace echelon
