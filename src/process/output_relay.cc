// SPDX-License-Identifier: Apache-2.0
#include "process/output_relay.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace echelon {
namespace {

constexpr int kDrainStepMs = 10;

bool wait_writable(int fd, int milliseconds) {
  pollfd entry{fd, POLLOUT, 0};
  return ::poll(&entry, 1, milliseconds) == 1;
}

}  // namespace

void OutputRelay::add(OutputStream stream, std::string_view text) {
  waiting_[stream == OutputStream::kStdout ? 0 : 1] += text;
}

bool OutputRelay::flush() {
  const bool out = flush_one(0);
  return flush_one(1) && out;
}

// A pipe that poll() calls writable takes PIPE_BUF bytes without waiting.
bool OutputRelay::flush_one(std::size_t i) {
  std::string& text = waiting_[i];
  std::size_t done = 0;
  while (done < text.size() && wait_writable(fds_[i], 0)) {
    const std::size_t step = std::min<std::size_t>(text.size() - done, PIPE_BUF);
    const ssize_t written = ::write(fds_[i], text.data() + done, step);
    if (written > 0) {
      done += static_cast<std::size_t>(written);
    } else if (errno != EINTR && errno != EAGAIN) {
      done = text.size();  // nobody will ever read it
    } else if (errno == EAGAIN) {
      break;
    }
  }
  text.erase(0, done);
  return text.empty();
}

void OutputRelay::drain_until(MonotonicNs deadline_ns, Env& env) {
  while (!flush() && env.now_ns() < deadline_ns) {
    wait_writable(fds_[waiting_[0].empty() ? 1 : 0], kDrainStepMs);
  }
  waiting_ = {};
}

}  // namespace echelon
