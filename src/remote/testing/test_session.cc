// SPDX-License-Identifier: Apache-2.0
#include "remote/testing/test_session.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "process/child_connection.h"
#include "process/control_server.h"
#include "remote/session_boot.h"

namespace echelon {
namespace {

constexpr std::chrono::seconds kWatchdog{30};

[[noreturn]] void hang() {
  for (;;) ::pause();
}

class Stop {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    signal_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    signal_.wait(lock, [this] { return stopped_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable signal_;
  bool stopped_ = false;
};

SessionReady own_ready() {
  SessionReady ready;
  ready.address = "127.0.0.1:4711";
  ready.token = kTestToken;
  ready.pool = Uid{77};
  return ready;
}

int be_ready(ChildConnection& connection, const std::string& what) {
  Stop stop;
  ControlHooks hooks;
  if (what != "stubborn") hooks.shutdown = [&stop] { stop.set(); };
  ControlServer control(connection.channel(), connection.parent_doorbell(), std::move(hooks));
  const ControlThread thread(control, connection.channel(), connection.boot().spawner_pid);
  if (what != "mute") {
    const auto said = encode_announcement(own_ready());
    if (!said.ok() || !control.announce(*said)) return 1;
  }
  if (what == "orphans" && ::fork() == 0) hang();
  connection.ready();
  stop.wait();
  connection.channel().set_state(ChildState::kClosing, "");
  return 0;
}

int behave(ChildConnection& connection, const std::string& what) {
  if (what == "fail") {
    ErrorInfo other;
    other.code = Code::kInternal;
    other.message = "and so did chip1";
    ErrorInfo info;
    info.code = Code::kNotFound;
    info.reason = Reason::kDriver;
    info.message = "chip0: there is no device 9";
    info.others = {other};
    return connection.fail(Status(std::move(info)));
  }
  if (what == "crash") *static_cast<volatile int*>(nullptr) = 1;
  if (what == "exit") {
    std::fputs("a word before the end\n", stderr);
    leave_child(3);
  }
  if (what == "sulk") {
    connection.channel().set_state(ChildState::kFailed, "");
    hang();
  }
  if (what == "hang") {
    connection.phase("opening device");
    hang();
  }
  if (what == "print") {
    std::puts("one line");
    std::puts("another");
  }
  return be_ready(connection, what);
}

}  // namespace

int test_session_main(ChildBoot boot) {
  const auto manifest = take_manifest(boot);
  SystemEnv env;
  auto connection = ChildConnection::open(std::move(boot), env);
  if (!connection.ok()) return 1;
  if (!manifest.ok()) return (*connection)->fail(manifest.status());
  const auto bytes = (*manifest)->bytes();
  return behave(**connection, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::vector<std::byte> test_manifest_bytes(const SessionManifest& manifest) {
  const auto bytes = std::as_bytes(std::span(manifest.name));
  return {bytes.begin(), bytes.end()};
}

SessionManifest test_manifest(const std::string& what) {
  SessionManifest manifest;
  manifest.name = what;
  manifest.path = "pod0/" + what;
  manifest.memory_bytes_max = 1 << 20;
  return manifest;
}

// --- the ticket
// -----------------------------------------------------------------------------------

void TestTicket::phase(std::string_view text) {
  const std::lock_guard lock(mutex_);
  phases_.emplace_back(text);
  signal_.notify_all();
}

void TestTicket::ready(const SessionReady& ready) {
  const std::lock_guard lock(mutex_);
  ready_ = ready;
  signal_.notify_all();
}

void TestTicket::ended(const Status& why) {
  const std::lock_guard lock(mutex_);
  ended_ = why;
  ++ends_;
  signal_.notify_all();
}

bool TestTicket::wait(const std::function<bool()>& condition) {
  std::unique_lock lock(mutex_);
  return signal_.wait_for(lock, kWatchdog, condition);
}

bool TestTicket::until_ready() {
  return wait([this] { return ready_.session != 0 || ends_ != 0; }) && said().session != 0;
}

bool TestTicket::until_ended() {
  return wait([this] { return ends_ != 0; });
}

bool TestTicket::until_phase(const std::string& text) {
  return wait([&] { return std::find(phases_.begin(), phases_.end(), text) != phases_.end(); });
}

std::vector<std::string> TestTicket::phases() const {
  const std::lock_guard lock(mutex_);
  return phases_;
}

SessionReady TestTicket::said() const {
  const std::lock_guard lock(mutex_);
  return ready_;
}

Status TestTicket::why() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

int TestTicket::ends() const {
  const std::lock_guard lock(mutex_);
  return ends_;
}

}  // namespace echelon
