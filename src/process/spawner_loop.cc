// SPDX-License-Identifier: Apache-2.0
#include "process/spawner_loop.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <utility>

#include "base/syscall.h"
#include "base/unforked.h"
#include "process/last_words.h"

namespace echelon {
namespace {

// Reports waiting for a Worker that does not read: with more, children's output stays in the pipes.
constexpr std::size_t kQueuedOutputMax = 64;
// Requests taken in one round, so that output and deaths get their turn.
constexpr int kRequestsPerRound = 64;

// Of one pipe, which holds 64 KiB: also bounds what a process left behind can add after a child's
// end.
constexpr int kReadsPerRound = 16;

constexpr std::size_t kFixedPolls = 3;  // socket, Worker, signals

std::uint64_t to_us(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(time.tv_usec);
}

// Pids in /proc/self/task/TID/children: of everything whose parent is this thread.
std::vector<pid_t> children_of_this_process() {
  std::vector<pid_t> pids;
  const UniqueFd fd(
      ::open(fmt::format("/proc/self/task/{}/children", ::getpid()).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return pids;
  std::string text;
  std::array<char, 4096> part{};
  for (ssize_t bytes; (bytes = ::read(fd.get(), part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(bytes));
  }
  const char* at = text.data();
  const char* const end = at + text.size();
  for (pid_t pid = 0; at < end; ++at) {
    const auto result = std::from_chars(at, end, pid);
    if (result.ec == std::errc()) {
      pids.push_back(pid);
      at = result.ptr;
    }
  }
  return pids;
}

// A child's own main never lets anything escape into the frames of the process it was forked from.
int run_child_main(const std::function<int(ChildBoot)>& main, ChildBoot boot) {
  if (!main) {
    std::fprintf(stderr, "echelon: %s: this Worker has no main for such a child\n",
                 boot.path.c_str());
    return 1;
  }
  try {
    return main(std::move(boot));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "echelon: uncaught exception: %s\n", error.what());
  } catch (...) {
    std::fprintf(stderr, "echelon: uncaught exception of a type not derived from std::exception\n");
  }
  return 1;
}

// posix_spawn's two objects, freed with their scope.
struct SpawnPlan {
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

// Out of the way of the numbers that the child is to find its descriptors at.
Result<UniqueFd> move_above_exec_fds(int fd) {
  UniqueFd high(::fcntl(fd, F_DUPFD_CLOEXEC, kExecDoorbellFd + 1));
  if (!high) return Status::from_errno(errno, "fcntl(F_DUPFD_CLOEXEC)");
  return high;
}

void plan_signals(SpawnPlan& plan) {
  sigset_t none;
  sigset_t defaults;
  sigemptyset(&none);
  sigfillset(&defaults);
  sigdelset(&defaults, SIGINT);  // stays ignored, as it is here
  posix_spawnattr_setsigmask(&plan.attributes, &none);
  posix_spawnattr_setsigdefault(&plan.attributes, &defaults);
  posix_spawnattr_setflags(&plan.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

}  // namespace

SpawnerLoop::SpawnerLoop(SpawnerBoot boot)
    : boot_(std::move(boot)), runner_(boot_.options.runner) {}

Status SpawnerLoop::set_up() {
  reset_signals();
  forget_last_words();
  const std::array keep = {boot_.socket.get(), boot_.worker_pidfd.get(), boot_.doorbell.get()};
  close_inherited_fds(keep);
  guard_excluded_ranges();
  // Children that some callable forked and left behind become ours, and are killed.
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
    return Status::from_errno(errno, "prctl(PR_SET_CHILD_SUBREAPER)");
  }
  // Not SIGKILL: it still has to kill what callables left behind. This wakes one that was stopped;
  // the pidfd of the Worker says the rest.
  if (boot_.by_main_thread && ::prctl(PR_SET_PDEATHSIG, SIGCONT) != 0) {
    return Status::from_errno(errno, "prctl(PR_SET_PDEATHSIG)");
  }
  sigset_t child_ended;
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  ::sigprocmask(SIG_SETMASK, &child_ended, nullptr);
  signals_ = UniqueFd(::signalfd(-1, &child_ended, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return Status::from_errno(errno, "signalfd(SIGCHLD)");
  if (boot_.doorbell) {
    MapOptions options;
    options.dont_fork = true;
    ECHELON_ASSIGN_OR_RETURN(doorbell_segment_,
                             Segment::open(std::move(boot_.doorbell), 0, options));
    doorbell_ = Doorbell(*reinterpret_cast<DoorbellData*>(doorbell_segment_.data()));
  }
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return Status::from_errno(errno, "open(/dev/null)");
  // It never writes to the user's stdout nor keeps a pipe's reader waiting; stderr is for a crash.
  if (::dup2(null.get(), STDIN_FILENO) < 0 || ::dup2(null.get(), STDOUT_FILENO) < 0) {
    return Status::from_errno(errno, "dup2(/dev/null)");
  }
  ::pthread_setname_np(::pthread_self(), "spawner");
  return Status();
}

int SpawnerLoop::run() {
  while (step()) {}
  return 0;
}

bool SpawnerLoop::step() {
  runner_.step(env_.now_ns());
  std::vector<pollfd> fds;
  wait_for_events(fds);
  const auto ready = [&](std::size_t at) { return fds[at].revents != 0; };
  if (ready(1)) worker_ended();
  if (!worker_gone_ && ready(0)) read_requests();
  for (std::size_t at = kFixedPolls; at < fds.size(); ++at) {
    if (!ready(at)) continue;
    for (auto& [index, io] : io_) {
      if (io.out.get() == fds[at].fd) read_output(index, io, OutputStream::kStdout);
      if (io.err.get() == fds[at].fd) read_output(index, io, OutputStream::kStderr);
    }
  }
  if (ready(2)) {
    std::array<signalfd_siginfo, 16> seen;
    while (::read(signals_.get(), seen.data(), sizeof(seen)) > 0) {}
  }
  flush();
  if (ledger_.kill_due(env_.now_ns())) kill_all();
  reap();
  if (ledger_.finished()) kill_orphans();
  flush();
  return !(ledger_.finished() && no_children_left_ && (queue_.empty() || worker_gone_));
}

void SpawnerLoop::wait_for_events(std::vector<pollfd>& fds) const {
  const short socket_events = static_cast<short>(POLLIN | (queue_.empty() ? 0 : POLLOUT));
  fds.push_back({worker_gone_ ? -1 : boot_.socket.get(), socket_events, 0});
  fds.push_back({worker_gone_ ? -1 : boot_.worker_pidfd.get(), POLLIN, 0});
  fds.push_back({signals_.get(), POLLIN, 0});
  if (queue_.size() < kQueuedOutputMax) {
    for (const auto& [index, io] : io_) {
      if (io.out) fds.push_back({io.out.get(), POLLIN, 0});
      if (io.err) fds.push_back({io.err.get(), POLLIN, 0});
    }
  }
  int timeout_ms = -1;
  MonotonicNs at = ledger_.next_timer_ns();
  if (const MonotonicNs runner = runner_.next_timer_ns(); runner != 0) {
    at = at == 0 ? runner : std::min(at, runner);
  }
  if (at != 0) {
    SystemEnv clock;
    const MonotonicNs now = clock.now_ns();
    timeout_ms = at <= now ? 0 : static_cast<int>((at - now) / 1'000'000 + 1);
  }
  // An error is EINTR or a lack of memory: the round then finds nothing, and the next one is tried.
  if (::poll(fds.data(), fds.size(), timeout_ms) < 0) {
    for (pollfd& fd : fds) fd.revents = 0;
  }
}

// --- requests
// -------------------------------------------------------------------------------------

void SpawnerLoop::read_requests() {
  std::vector<std::byte> buffer(kSpawnMessageBytesMax);
  for (int i = 0; i < kRequestsPerRound && !worker_gone_; ++i) {
    auto message = receive_message(boot_.socket.get(), buffer, false);
    if (message.ok() && message->none) return;
    if (!message.ok() || message->end || message->truncated) return worker_ended();
    auto request = decode_down(std::span(buffer).first(message->bytes));
    // Our own Worker speaks nonsense: there is nobody left whose children these could be.
    if (!request.ok()) return worker_ended();
    handle(std::move(request).value(), std::move(message->fds));
  }
}

void SpawnerLoop::handle(DownMessage message, std::vector<UniqueFd> fds) {
  if (const auto* spawn = std::get_if<SpawnRequest>(&message)) {
    make(*spawn, std::move(fds));
  } else if (const auto* kill = std::get_if<KillRequest>(&message)) {
    // Not reaped yet, so the pid is still this child's.
    if (const auto pid = ledger_.pid_of(kill->index)) ::kill(*pid, SIGKILL);
  } else if (const auto* end = std::get_if<ShutdownRequest>(&message)) {
    ledger_.begin_end(env_.now_ns(), std::chrono::milliseconds(end->kill_after_ms));
    runner_.retire();
  }
}

void SpawnerLoop::make(const SpawnRequest& request, std::vector<UniqueFd> fds) {
  const Status made = try_make(request, std::move(fds));
  if (!made.ok()) queue(FailedReport{request.spec.index, made});
}

Status SpawnerLoop::try_make(const SpawnRequest& request, std::vector<UniqueFd> fds) {
  ECHELON_RETURN_IF_ERROR(ledger_.admit(request));
  const std::size_t fds_max = request.spec.kind == ChildKind::kChip ? kSpawnFds : kSpawnFdsMax;
  if (fds.size() < kSpawnFds || fds.size() > fds_max || request.expected_parent != ::getpid()) {
    return Status::error(
        Code::kInternal, Reason::kInternal,
        fmt::format("{}: a request with {} descriptors for the spawner with pid {}, which is {}",
                    request.spec.path, fds.size(), request.expected_parent, ::getpid()));
  }
  if (request.spec.in_runner) return make_in_runner(request, fds);
  ChildBoot boot;
  boot.index = request.spec.index;
  boot.kind = request.spec.kind;
  boot.uid = request.spec.uid;
  boot.path = request.spec.path;
  boot.name = request.spec.name;
  boot.channel = std::move(fds[0]);
  boot.edge = std::move(fds[1]);
  boot.doorbell = std::move(fds[2]);
  if (fds.size() > kSpawnFds) boot.payload = std::move(fds[kSpawnFds]);
  boot.spawner_pid = ::getpid();
  boot.arguments = request.spec.arguments;
  ECHELON_ASSIGN_OR_RETURN(FdPair out, create_pipe());
  ECHELON_ASSIGN_OR_RETURN(FdPair err, create_pipe());
  ECHELON_RETURN_IF_ERROR(set_nonblocking(out.first.get(), true));
  ECHELON_RETURN_IF_ERROR(set_nonblocking(err.first.get(), true));
  ECHELON_ASSIGN_OR_RETURN(const pid_t pid,
                           boot.kind == ChildKind::kChip
                               ? exec_child(boot, out.second.get(), err.second.get())
                               : fork_child(std::move(boot), out.second.get(), err.second.get()));
  return announce(request.spec.index, pid, std::move(out.first), std::move(err.first));
}

Status SpawnerLoop::make_in_runner(const SpawnRequest& request, const std::vector<UniqueFd>& fds) {
  if (fds.size() != kSpawnFdsMax) {
    return Status::error(Code::kInternal, Reason::kInternal,
                         fmt::format("{}: a runner without a payload", request.spec.path));
  }
  ECHELON_ASSIGN_OR_RETURN(WarmRunner::Taken taken, runner_.take(request, fds, env_.now_ns()));
  return announce(request.spec.index, taken.pid, std::move(taken.out), std::move(taken.err));
}

/// `out` and `err`: the reading ends of what it prints.
Status SpawnerLoop::announce(ChildIndex index, pid_t pid, UniqueFd out, UniqueFd err) {
  ledger_.made(index, pid);
  no_children_left_ = false;
  Io& io = io_[index];
  io.out = std::move(out);
  io.err = std::move(err);
  auto pidfd = pidfd_open(pid);
  if (!pidfd.ok()) {
    // Its Worker could never end it: this child must not be.
    ::kill(pid, SIGKILL);
    ledger_.announced(index);
    return pidfd.status();
  }
  queue(SpawnedReport{index, pid}, std::move(pidfd).value(), index);
  return Status();
}

Result<pid_t> SpawnerLoop::fork_child(ChildBoot boot, int output, int errors) {
  const pid_t pid = fork_with(boot_.options.fork_hooks);
  if (pid < 0) return Status::from_errno(errno, "fork()");
  if (pid != 0) return pid;
  const Status entered = enter_forked_child(boot, output, errors);
  if (!entered.ok()) {
    std::fprintf(stderr, "echelon: %s\n", entered.to_string().c_str());
    leave_child(1);
  }
  const auto& main =
      boot.kind == ChildKind::kSub ? boot_.options.sub_main : boot_.options.worker_main;
  leave_child(run_child_main(main, std::move(boot)));
}

Result<pid_t> SpawnerLoop::exec_child(const ChildBoot& boot, int output, int errors) {
  SpawnPlan plan;
  plan_signals(plan);
  const std::array<std::pair<int, int>, 5> places = {{{boot.channel.get(), kExecChannelFd},
                                                      {boot.edge.get(), kExecEdgeFd},
                                                      {boot.doorbell.get(), kExecDoorbellFd},
                                                      {output, STDOUT_FILENO},
                                                      {errors, STDERR_FILENO}}};
  std::array<UniqueFd, places.size()> high;
  for (std::size_t i = 0; i < places.size(); ++i) {
    ECHELON_ASSIGN_OR_RETURN(high[i], move_above_exec_fds(places[i].first));
    posix_spawn_file_actions_adddup2(&plan.actions, high[i].get(), places[i].second);
  }
  posix_spawn_file_actions_addopen(&plan.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&plan.actions, kExecDoorbellFd + 1);
  std::vector<std::string> texts = exec_arguments(boot);
  texts.insert(texts.begin(), boot_.options.chip_executable);
  texts.insert(texts.end(), boot.arguments.begin(), boot.arguments.end());
  std::vector<char*> arguments;
  arguments.reserve(texts.size() + 1);
  for (std::string& text : texts) arguments.push_back(text.data());
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, boot_.options.chip_executable.c_str(), &plan.actions,
                                  &plan.attributes, arguments.data(), environ);
  if (error == 0) return pid;
  return Status::from_errno(error, fmt::format("{}: cannot start {}", boot.path, texts.front()));
}

// --- output and ends
// --------------------------------------------------------------------------------

void SpawnerLoop::read_output(ChildIndex index, Io& io, OutputStream stream) {
  const bool errors = stream == OutputStream::kStderr;
  UniqueFd& fd = errors ? io.err : io.out;
  OutputLines& lines = errors ? io.err_lines : io.out_lines;
  std::array<char, kOutputBytesMax> part{};
  for (int reads = 0; reads < kReadsPerRound; ++reads) {
    const ssize_t bytes = ::read(fd.get(), part.data(), part.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) return;
    if (bytes <= 0) {
      fd.reset();
      return pass_on(index, stream, lines, true);
    }
    const std::string_view text(part.data(), static_cast<std::size_t>(bytes));
    if (errors) {
      io.stderr_tail.append(text);
      if (io.stderr_tail.size() > kStderrTailBytes) {
        io.stderr_tail.erase(0, io.stderr_tail.size() - kStderrTailBytes);
      }
    }
    lines.append(text);
    pass_on(index, stream, lines, false);
  }
}

void SpawnerLoop::pass_on(ChildIndex index, OutputStream stream, OutputLines& lines, bool at_end) {
  while (auto piece = at_end ? lines.next_at_end() : lines.next()) {
    queue(OutputReport{index, stream, std::move(*piece)});
  }
}

void SpawnerLoop::reap() {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
      if (errno == EINTR) continue;
      no_children_left_ = errno == ECHILD;
      return;
    }
    no_children_left_ = false;
    if (info.si_pid == 0) return;
    if (reap_runner(info.si_pid)) continue;
    switch (ledger_.ended(info.si_pid)) {
      case SpawnLedger::Ended::kWait:
        return;  // SPAWN-1: flush() announces it first
      case SpawnLedger::Ended::kReap:
        report_exit(info.si_pid);
        break;
      case SpawnLedger::Ended::kOrphan:
        ::waitpid(info.si_pid, nullptr, 0);
        break;
    }
    kill_orphans();
  }
}

/// False: it is another process. Of a runner that ended before it was a child its Worker hears what
/// it said; the next child that needs one gets a new one, and then says why there is none itself.
bool SpawnerLoop::reap_runner(pid_t pid) {
  if (pid != runner_.pid()) return false;
  ::waitpid(pid, nullptr, 0);
  const std::string said = runner_.ended(env_.now_ns());
  if (ledger_.ending()) return true;
  OutputLines lines(kOutputBytesMax);
  lines.append(said.empty() ? "it ended, and did not say why\n" : said);
  pass_on(kRunnerIndex, OutputStream::kStderr, lines, true);
  return true;
}

void SpawnerLoop::report_exit(pid_t pid) {
  int status = 0;
  rusage usage{};
  ::wait4(pid, &status, 0, &usage);
  const auto index = ledger_.reaped(pid);
  if (!index.has_value()) return;
  ExitedReport report;
  report.index = *index;
  report.exit.pid = pid;
  report.exit.wait_status = status;
  report.exit.user_us = to_us(usage.ru_utime);
  report.exit.system_us = to_us(usage.ru_stime);
  report.exit.max_rss_kib = static_cast<std::uint64_t>(usage.ru_maxrss);
  if (auto it = io_.find(*index); it != io_.end()) {
    Io& io = it->second;
    // What is in the pipes now is all it wrote; a process it left behind may hold them open.
    if (io.out) read_output(*index, io, OutputStream::kStdout);
    if (io.err) read_output(*index, io, OutputStream::kStderr);
    pass_on(*index, OutputStream::kStdout, io.out_lines, true);
    pass_on(*index, OutputStream::kStderr, io.err_lines, true);
    report.exit.stderr_tail = std::move(io.stderr_tail);
    io_.erase(it);
  }
  queue(report);
}

void SpawnerLoop::kill_orphans() {
  for (const pid_t pid : children_of_this_process()) {
    const bool kept = pid == runner_.pid() && !ledger_.ending();
    if (!kept && !ledger_.is_child(pid)) ::kill(pid, SIGKILL);
  }
}

void SpawnerLoop::kill_all() {
  ledger_.killed();
  for (const pid_t pid : ledger_.pids()) ::kill(pid, SIGKILL);
}

// --- reports
// ----------------------------------------------------------------------------------------

void SpawnerLoop::queue(const UpMessage& message, UniqueFd fd,
                        std::optional<ChildIndex> announces) {
  if (worker_gone_) return;
  auto bytes = encode(message);
  ECHELON_CHECK(bytes.ok(), bytes.status().to_string());
  queue_.push_back({std::move(bytes).value(), std::move(fd), announces});
}

void SpawnerLoop::flush() {
  bool sent = false;
  while (!queue_.empty() && !worker_gone_) {
    const Queued& next = queue_.front();
    const int fd = next.fd.get();
    const Status status = send_message(boot_.socket.get(), next.bytes,
                                       std::span(&fd, next.fd ? 1 : 0), /*wait=*/false);
    if (status.code() == Code::kResourceExhausted) break;
    if (!status.ok()) return worker_ended();
    if (next.announces.has_value()) ledger_.announced(*next.announces);
    queue_.pop_front();
    sent = true;
  }
  // The keeper attends to these, whoever drives.
  if (sent && doorbell_segment_) doorbell_.wake_keeper();
}

void SpawnerLoop::worker_ended() {
  worker_gone_ = true;
  queue_.clear();
  ledger_.announce_all();
  ledger_.begin_end(env_.now_ns(), std::chrono::milliseconds(0));
  runner_.retire();
  kill_all();
  kill_orphans();
}

}  // namespace echelon
