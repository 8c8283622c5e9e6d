// SPDX-License-Identifier: Apache-2.0
//
// The child of process/test_tree.h.
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "base/syscall.h"
#include "process/leaf_registration.h"
#include "process/test_tree.h"
#include "shm/channel.h"
#include "shm/waiter.h"

namespace echelon {
namespace {

void answer(ResultSink& sink, std::string_view text) {
  sink.result(std::as_bytes(std::span(text)));
}

[[noreturn]] void hang() {
  for (;;) ::pause();
}

std::string open_fds() {
  std::string text;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const auto target = std::filesystem::read_symlink(entry.path(), ignored);
    text += fmt::format("{} {}\n", entry.path().filename().string(), target.string());
  }
  return text;
}

// A process that outlives the callable; its pid comes back over a pipe.
pid_t leave_behind(bool daemonise) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return -1;
  if (::fork() == 0) {
    if (daemonise) {
      ::setsid();
      if (::fork() != 0) ::_exit(0);
    }
    ::signal(SIGTERM, SIG_IGN);
    const pid_t self = ::getpid();
    [[maybe_unused]] const auto sent = ::write(pipe[1], &self, sizeof(self));
    hang();
  }
  pid_t pid = -1;
  [[maybe_unused]] const auto got = ::read(pipe[0], &pid, sizeof(pid));
  ::close(pipe[0]);
  ::close(pipe[1]);
  return pid;
}

std::string hygiene() {
  struct sigaction interrupt {};
  struct sigaction pipe {};
  ::sigaction(SIGINT, nullptr, &interrupt);
  ::sigaction(SIGPIPE, nullptr, &pipe);
  int death_signal = 0;
  ::prctl(PR_GET_PDEATHSIG, &death_signal);
  sigset_t mask;
  ::sigprocmask(SIG_BLOCK, nullptr, &mask);
  return fmt::format("SIGINT {} SIGPIPE {} death {} SIGTERM blocked {}",
                     interrupt.sa_handler == SIG_IGN ? "ignored" : "not ignored",
                     pipe.sa_handler == SIG_DFL ? "default" : "not default", death_signal,
                     sigismember(&mask, SIGTERM));
}

// Takes callables by name: "refuse" is refused, "block" is never done; of others nothing is made.
class TestHost final : public CallableHost {
 public:
  Status install(const RegisterRequest& request) override {
    if (request.name == "block") hang();
    if (request.name != "refuse") return Status();
    return Status::error(Code::kAborted, Reason::kException, "it is refused, as it asked");
  }
  void remove(CallableSlot, std::uint64_t, std::function<void()> gone) override { gone(); }
};

class TestHandler final : public TaskHandler {
 public:
  TestHandler(ChildConnection& connection, UniqueFd channel_fd)
      : connection_(connection), channel_fd_(std::move(channel_fd)) {}
  std::shared_ptr<CallableHost> callable_host() override { return host_; }

  void run(const TaskFrame& task, ResultSink& sink) override {
    switch (static_cast<TestTask>(task.slot.value)) {
      case TestTask::kEmpty:
        return;
      case TestTask::kEcho:
        return sink.result(task.body_bytes);
      case TestTask::kThrow:
        throw std::runtime_error("deliberate");
      case TestTask::kFail:
        return sink.error(failure("refused on purpose"));
      case TestTask::kBigResult:
        return answer(sink, std::string(scalar(task, 0), 'r'));
      case TestTask::kBigError:
        return sink.error(failure(std::string(scalar(task, 0), 'e')));
      case TestTask::kUntilCancelled:
        while (!task.cancelled()) ::sched_yield();
        return;
      default:
        return misbehave(task, sink);
    }
  }

 private:
  static std::uint64_t scalar(const TaskFrame& task, std::size_t index) {
    return task.body.scalars.at(index).bits;
  }

  static ErrorInfo failure(std::string message) {
    ErrorInfo info;
    info.code = Code::kInvalidArgument;
    info.reason = Reason::kBadArgument;
    info.cause = Cause::kRefused;
    info.message = std::move(message);
    return info;
  }

  void misbehave(const TaskFrame& task, ResultSink& sink) {
    switch (static_cast<TestTask>(task.slot.value)) {
      case TestTask::kHang:
        hang();
      case TestTask::kExit:
        leave_child(static_cast<int>(scalar(task, 0)));
      case TestTask::kCrash:
        *static_cast<volatile int*>(nullptr) = 1;
        return;
      case TestTask::kCheck:
        ECHELON_CHECK(task.body.scalars.size() == 77);
        return;
      case TestTask::kKillSelf:
        ::kill(::getpid(), SIGKILL);
        hang();
      case TestTask::kPrint:
        return print(scalar(task, 0));
      case TestTask::kOpenFds:
        return answer(sink, open_fds());
      case TestTask::kForkDaemon:
        return answer(sink, std::to_string(leave_behind(true)));
      case TestTask::kForkChild:
        return answer(sink, std::to_string(leave_behind(false)));
      case TestTask::kIgnoreSigterm:
        ::signal(SIGTERM, SIG_IGN);
        return;
      case TestTask::kReadTensor:
      case TestTask::kWriteTensor:
        return use_tensor(task, sink);
      case TestTask::kSpoilRing:
        return spoil(task);
      case TestTask::kHygiene:
        return answer(sink, hygiene());
      default:
        return sink.error(failure("no such task"));
    }
  }

  static void print(std::uint64_t lines) {
    for (std::uint64_t i = 0; i < lines; ++i) {
      std::printf("line %llu of ", static_cast<unsigned long long>(i));
      std::fflush(stdout);
      std::printf("many\n");
    }
    std::fprintf(stderr, "oops\n");
  }

  void use_tensor(const TaskFrame& task, ResultSink& sink) {
    const TensorDesc& desc = task.body.tensors.at(0).desc;
    const bool write = static_cast<TestTask>(task.slot.value) == TestTask::kWriteTensor;
    auto at = connection_.pools().open(desc, write ? Access::kReadWrite : Access::kRead);
    if (!at.ok()) return sink.error(at.status().info());
    const std::span<std::byte> bytes(at.value(), desc.payload_bytes());
    if (!write) return sink.result(bytes);
    for (std::byte& one : bytes) {
      one = static_cast<std::byte>(static_cast<std::uint64_t>(one) + scalar(task, 0));
    }
  }

  // A second mapping of the channel, so that nothing of ours stands in the way.
  void spoil(const TaskFrame& task) {
    void* at = ::mmap(nullptr, sizeof(ChannelData), PROT_READ | PROT_WRITE, MAP_SHARED,
                      channel_fd_.get(), 0);
    ECHELON_CHECK(at != MAP_FAILED, errno);
    auto& data = *static_cast<ChannelData*>(at);
    const auto how = static_cast<Spoil>(scalar(task, 0));
    SpoilPlace place;
    place.running = task.task.value;
    if (scalar(task, 1) == 0) {
      // One completion has been read (its task is scalar 2), this task's is the next.
      place.ring = data.completion_ring;
      place.position = data.completion_position.consumed.load();
      place.sequence = 2;
      place.last = scalar(task, 2);
      spoil_ring(how, FrameKind::kCompletion, place);
    } else {
      place.ring = data.control_up_ring;
      place.position = data.control_up_position.consumed.load();
      spoil_ring(how, FrameKind::kPong, place);
    }
    hang();
  }

  ChildConnection& connection_;
  UniqueFd channel_fd_;
  const std::shared_ptr<TestHost> host_ = std::make_shared<TestHost>();
};

}  // namespace

void spoil_ring(Spoil how, FrameKind kind, const SpoilPlace& place) {
  const std::size_t at = place.position & (place.ring.size() - 1);
  auto& frame = *reinterpret_cast<FrameData*>(place.ring.data() + at);
  std::uint32_t stamp = place.sequence;
  frame.claim = static_cast<std::uint32_t>(Claim::kQueued);
  frame.bytes = 0;
  frame.kind = static_cast<std::uint16_t>(kind);
  frame.flags = 0;
  frame.task = 0x7777;
  frame.slot = 0;
  frame.deadline = 0;
  switch (how) {
    case Spoil::kGarbage:
      std::memset(place.ring.data() + at + sizeof(stamp), 0xA5, kFrameHeaderBytes - sizeof(stamp));
      stamp = 0xA5A5A5A5;
      break;
    case Spoil::kShort:
      frame.flags = kFlagError;
      frame.task = place.running;
      frame.bytes = 3;
      break;
    case Spoil::kOversize:
      frame.bytes = 0x40000000;
      break;
    case Spoil::kReplay:
      frame.task = place.last;
      break;
    case Spoil::kUnknown:
      break;
  }
  // pairs with the seq_cst loads of the ring's consumer
  frame.stamp.store(stamp, std::memory_order_seq_cst);
}

int test_child_main(ChildBoot boot) {
  auto second = duplicate_fd(boot.channel.get());
  ECHELON_CHECK(second.ok());
  Leaf leaf;
  leaf.make_handler =
      [&second](ChildConnection& connection) -> Result<std::unique_ptr<TaskHandler>> {
    return std::unique_ptr<TaskHandler>(new TestHandler(connection, std::move(second).value()));
  };
  leaf.stats = [](const TaskServerCounters& counters) {
    const std::uint64_t tasks = counters.tasks.load();
    const auto bytes = std::as_bytes(std::span(&tasks, 1));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  return run_leaf(std::move(boot), leaf);
}

}  // namespace echelon
