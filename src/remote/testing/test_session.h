// SPDX-License-Identifier: Apache-2.0
//
// Sessions for tests of daemons: a process that does what its name says, and a ticket that
// remembers what it was told.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "process/child_boot.h"
#include "remote/transport.h"

namespace echelon {

/// The life of a session's process; what it does is the manifest, as test_manifest_bytes() wrote
/// it: "ready"; "fail"; "crash" (SIGSEGV); "exit" (code 3, a word on stderr); "hang" (in a phase
/// "opening device"); "mute" (ready without saying where); "stubborn" (ready, deaf to being told to
/// end); "orphans" (ready, with a child of its own); "print"; "sulk" (says that it has failed,
/// not why, and goes on).
int test_session_main(ChildBoot boot);
std::vector<std::byte> test_manifest_bytes(const SessionManifest& manifest);
SessionManifest test_manifest(const std::string& what);

/// The token that a ready one shows.
inline constexpr const char* kTestToken = "test token";

class TestTicket final : public SessionTicket {
 public:
  void phase(std::string_view text) override;
  void ready(const SessionReady& ready) override;
  void ended(const Status& why) override;

  /// False: not within 30 s.
  bool until_ready();
  bool until_ended();
  bool until_phase(const std::string& text);

  std::vector<std::string> phases() const;
  SessionReady said() const;
  Status why() const;
  int ends() const;

 private:
  bool wait(const std::function<bool()>& condition);

  mutable std::mutex mutex_;
  std::condition_variable signal_;
  std::vector<std::string> phases_;
  SessionReady ready_;
  Status ended_;
  int ends_ = 0;
};

}  // namespace echelon
