// SPDX-License-Identifier: Apache-2.0
#include "process/last_words.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <mutex>
#include <span>

#include "base/check.h"
#include "base/error_codec.h"
#include "base/syscall.h"
#include "process/sanitizers.h"
#include "shm/channel.h"

namespace echelon {
namespace {

constexpr std::array kFatalSignals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr std::size_t kAlternateStackBytes = 64 * 1024;
constexpr std::size_t kFramesMax = 48;
constexpr std::size_t kStackTextBytes = 8 * 1024;
constexpr MonotonicNs kStackPatienceNs = 50'000'000;

// Handlers have no argument of ours: what they need must be found from here. Set once at boot.
std::atomic<ChannelChild*> dying_channel{nullptr};

// Text built in a signal handler: no allocation, no locale, nothing but stores.
class SignalText {
 public:
  SignalText(char* out, std::size_t bytes) : out_(out), room_(bytes) {}
  void put(const char* text) { put(text, std::strlen(text)); }
  void put(const char* text, std::size_t bytes) {
    bytes = std::min(bytes, room_ - size_);
    std::memcpy(out_ + size_, text, bytes);
    size_ += bytes;
  }
  void put_number(std::uint64_t value, unsigned base) {
    std::array<char, 24> digits;
    std::size_t at = digits.size();
    do {
      digits[--at] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value != 0);
    put(digits.data() + at, digits.size() - at);
  }
  std::size_t size() const { return size_; }

 private:
  char* out_;
  std::size_t room_;
  std::size_t size_ = 0;
};

void put_frame(SignalText& text, unsigned number, void* address) {
  text.put("  #");
  text.put_number(number, 10);
  text.put(" 0x");
  text.put_number(reinterpret_cast<std::uintptr_t>(address), 16);
  Dl_info info{};
  if (::dladdr(address, &info) != 0) {
    const char* base = info.dli_sname != nullptr ? static_cast<const char*>(info.dli_saddr)
                                                 : static_cast<const char*>(info.dli_fbase);
    text.put(" ");
    text.put(info.dli_sname != nullptr ? info.dli_sname : "?");
    text.put("+0x");
    text.put_number(static_cast<std::uint64_t>(static_cast<const char*>(address) - base), 16);
    text.put(" (");
    text.put(info.dli_fname != nullptr ? info.dli_fname : "?");
    text.put(")");
  }
  text.put("\n");
}

const char* name_of(int signal) {
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGILL:
      return "SIGILL";
    case SIGFPE:
      return "SIGFPE";
    case SIGABRT:
      return "SIGABRT";
    default:
      return "a signal";
  }
}

void on_fatal_signal(int signal, siginfo_t* info, void*) {
  // pairs with the release store in install_last_words
  if (ChannelChild* channel = dying_channel.load(std::memory_order_acquire); channel != nullptr) {
    std::array<char, kLastWordsBytesMax> buffer;
    SignalText text(buffer.data(), buffer.size());
    text.put(name_of(signal));
    if (signal != SIGABRT) {
      text.put(" at address 0x");
      text.put_number(reinterpret_cast<std::uintptr_t>(info->si_addr), 16);
    }
    text.put("\n");
    const std::size_t line = text.size();
    const std::size_t stack = write_backtrace(buffer.data() + line, buffer.size() - line, 2);
    channel->write_last_words({buffer.data(), line + stack});
  }
  // SA_RESETHAND: the default action now ends the process. A fault repeats itself; abort() raises
  // again by itself; one sent by kill() has to be sent once more.
  ::raise(signal);
}

void on_check_failed(std::string_view text) {
  // pairs with the release store in install_last_words
  ChannelChild* channel = dying_channel.load(std::memory_order_acquire);
  if (channel == nullptr) return;
  std::array<char, kLastWordsBytesMax> buffer;
  SignalText out(buffer.data(), buffer.size());
  out.put(text.data(), text.size());
  out.put("\n");
  const std::size_t line = out.size();
  const std::size_t stack = write_backtrace(buffer.data() + line, buffer.size() - line, 2);
  channel->write_last_words({buffer.data(), line + stack});
}

// backtrace() loads libgcc at its first call, which allocates: not for a handler.
void preload_backtrace() {
  std::array<void*, 4> frames;
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  Dl_info info{};
  if (count > 0) ::dladdr(frames[0], &info);
}

// --- stacks of other threads --------------------------------------------------------------------

int stack_signal() {
  return SIGRTMIN + 3;
}

// One request at a time; the handler owns the text while the state says so.
enum StackState : std::uint32_t { kStackIdle, kStackAsked, kStackTaken };
struct StackRequest {
  std::atomic<std::uint32_t> state{kStackIdle};
  std::array<char, kStackTextBytes> text;
  std::size_t bytes = 0;
};
StackRequest stack_request;
std::mutex stack_mutex;

void on_stack_signal(int, siginfo_t*, void*) {
  const int error = errno;
  // pairs with the release store in stack_of(): the request is whole
  if (stack_request.state.load(std::memory_order_acquire) == kStackAsked) {
    stack_request.bytes = write_backtrace(stack_request.text.data(), stack_request.text.size(), 2);
    // pairs with the acquire load in stack_of(): publishes the text
    stack_request.state.store(kStackTaken, std::memory_order_release);
    futex_wake(stack_request.state, 1);
  }
  errno = error;
}

Status set_handler(int signal, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | flags;
  sigemptyset(&action.sa_mask);
  if (::sigaction(signal, &action, nullptr) == 0) return Status();
  return Status::from_errno(errno, "sigaction()");
}

}  // namespace

std::size_t write_backtrace(char* out, std::size_t bytes, int skip) {
  std::array<void*, kFramesMax> frames;
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  SignalText text(out, bytes);
  for (int i = skip; i < count; ++i) {
    put_frame(text, static_cast<unsigned>(i - skip), frames[static_cast<std::size_t>(i)]);
  }
  return text.size();
}

Status install_last_words(ChannelChild& channel) {
  preload_backtrace();
  // pairs with the acquire loads in the handlers
  dying_channel.store(&channel, std::memory_order_release);
  set_check_hook(&on_check_failed);
  if (kSanitized) return Status();
  ECHELON_RETURN_IF_ERROR(use_alternate_stack());
  for (const int signal : kFatalSignals) {
    ECHELON_RETURN_IF_ERROR(set_handler(signal, &on_fatal_signal, static_cast<int>(SA_RESETHAND)));
  }
  return Status();
}

void forget_last_words() {
  // pairs with the acquire loads in the handlers
  dying_channel.store(nullptr, std::memory_order_release);
  set_check_hook(nullptr);
}

Status use_alternate_stack() {
  if (kSanitized) return Status();
  // Mapped, never freed: it must hold until the thread's very end.
  void* memory = ::mmap(nullptr, kAlternateStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return Status::from_errno(errno, "mmap(signal stack)");
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = kAlternateStackBytes;
  if (::sigaltstack(&stack, nullptr) == 0) return Status();
  return Status::from_errno(errno, "sigaltstack()");
}

void write_last_error(ChannelChild& channel, const ErrorInfo& info) {
  const auto bytes = encode_error(info, kLastWordsBytesMax);
  channel.write_last_words({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Status read_last_words(const ChannelParent& channel) {
  return parse_last_words(channel.last_words());
}

Status parse_last_words(std::string_view bytes) {
  if (bytes.empty()) return Status();
  auto decoded = decode_error(std::as_bytes(std::span(bytes)));
  if (decoded.ok() && decoded->code != Code::kOk) return Status(std::move(decoded).value());
  ErrorInfo info;
  info.code = Code::kUnavailable;
  info.reason = Reason::kChildDied;
  const auto newline = bytes.find('\n');
  info.message = bytes.substr(0, newline);
  if (newline != std::string_view::npos) info.traceback = bytes.substr(newline + 1);
  return Status(std::move(info));
}

std::string stack_of(pthread_t thread) {
  const std::unique_lock lock(stack_mutex, std::try_to_lock);
  if (!lock.owns_lock()) return {};
  // pairs with the acquire load in on_stack_signal
  stack_request.state.store(kStackAsked, std::memory_order_release);
  SystemEnv clock;
  const MonotonicNs end = clock.now_ns() + kStackPatienceNs;
  bool taken = false;
  if (::pthread_kill(thread, stack_signal()) == 0) {
    // pairs with the release store in on_stack_signal
    while (!(taken = stack_request.state.load(std::memory_order_acquire) == kStackTaken) &&
           clock.now_ns() < end) {
      futex_wait(stack_request.state, kStackAsked, end);
    }
  }
  std::string text =
      taken ? std::string(stack_request.text.data(), stack_request.bytes) : std::string();
  // A late handler finds nothing asked. One that began before is done with in the next request.
  stack_request.state.store(kStackIdle, std::memory_order_relaxed);
  return text;
}

Status watch_stack() {
  preload_backtrace();
  return set_handler(stack_signal(), &on_stack_signal, SA_RESTART);
}

}  // namespace echelon
