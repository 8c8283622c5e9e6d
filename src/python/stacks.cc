// SPDX-License-Identifier: Apache-2.0
#include "python/stacks.h"

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <string_view>

namespace echelon::python {
namespace {

namespace nb = nanobind;

constexpr std::size_t kTextBytesMax = 4096;
constexpr long kPatienceNs = 50'000'000;

// Of the one thread that is watched; written by watch_python_stack() before anybody asks.
pthread_t watched;
int file = -1;
sem_t written;

int dump_signal() {
  return SIGRTMIN + 4;  // last_words.cc has another one
}

/// faulthandler calls it after its own.
void on_written(int) {
  ::sem_post(&written);
}

bool wait_until_written() {
  timespec until{};
  ::clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += kPatienceNs;
  until.tv_sec += until.tv_nsec / 1'000'000'000;
  until.tv_nsec %= 1'000'000'000;
  int result = 0;
  while ((result = ::sem_timedwait(&written, &until)) != 0 && errno == EINTR) {}
  return result == 0;
}

}  // namespace

void watch_python_stack() {
  if (::sem_init(&written, 0, 0) != 0) return;
  const int made = ::memfd_create("echelon-python-stack", MFD_CLOEXEC);
  if (made < 0) return;
  struct sigaction action {};
  action.sa_handler = on_written;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  if (::sigaction(dump_signal(), &action, nullptr) != 0) return;
  nb::dict options;
  options["file"] = made;
  options["all_threads"] = false;
  options["chain"] = true;
  nb::module_::import_("faulthandler").attr("register")(dump_signal(), **options);
  watched = ::pthread_self();
  file = made;
}

std::string python_stack() {
  if (file < 0) return {};
  while (::sem_trywait(&written) == 0) {  // by one who came too late
  }
  if (::ftruncate(file, 0) != 0 || ::lseek(file, 0, SEEK_SET) != 0 ||
      ::pthread_kill(watched, dump_signal()) != 0) {
    return {};
  }
  if (!wait_until_written()) return "Python frames: not known, as the thread does not answer\n";
  std::array<char, kTextBytesMax> text;
  const ssize_t got = ::pread(file, text.data(), text.size(), 0);
  const std::string_view frames(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  const std::size_t first = frames.find("  File ");
  if (first == std::string_view::npos) return {};
  const std::size_t last = frames.rfind('\n');
  return fmt::format("Python frames (most recent call first):\n{}C frames:\n",
                     frames.substr(first, last + 1 - first));
}

}  // namespace echelon::python
