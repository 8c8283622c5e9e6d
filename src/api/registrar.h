// SPDX-License-Identifier: Apache-2.0
//
// Registrar: callables that come while a Worker runs - from the program (at the root) or from the
// Worker above - prepared here, passed on to the children, answered
// (docs/design/0011-registration.md). RegistrationProtocol decides; this moves the bytes.
//
// Threads: any. What blocks is done by a thread of its own, made when there is such work: loading
//   orchestration functions and libraries. Blocking: register_here() alone.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <echelon/embedding.h>

#include "api/late_table.h"
#include "api/named_callables.h"
#include "base/env.h"
#include "process/control_server.h"
#include "process/registrar_thread.h"
#include "process/registration.h"
#include "process/registration_uplink.h"
#include "process/tree_child.h"
#include "shm/doorbell.h"
#include "shm/waiter.h"

namespace echelon::detail {

class Registrar final : public RegistrationHooks, private RegistrationOutputs {
 public:
  struct Options {
    std::string path;  // the Worker's
    const embedding::Language* language = nullptr;
    std::vector<TreeChild*> children;
    Doorbell* doorbell = nullptr;  // the Worker's own, to have its keeper look
  };
  Registrar(LateTable& table, Env& env);
  ~Registrar() override = default;

  /// Before the keeper runs.
  void open(Options options);
  /// Whoever waits is refused; nothing is sent any more.
  void close();

  // --- the root -----------------------------------------------------------------------------
  /// Registers in the whole subtree; returns when all have answered or the request's time is up.
  /// Where the answer is not ok, unregister_here() must follow; also where this throws what the
  /// language's check_wait() throws: it is still under way then.
  SubtreeAnswer register_here(const RegisterRequest& request);
  /// Refused from now on; `gone` is called, on any thread and holding no lock of the caller's, when
  /// every process of the subtree has confirmed that it forgot it.
  void unregister_here(CallableSlot slot, std::uint64_t serial, std::function<void()> gone);
  /// Paths of children that have not confirmed yet.
  std::vector<std::string> unconfirmed(std::uint64_t serial) const;

  // --- a next-level Worker ------------------------------------------------------------------
  /// Before the first frame from above; nullptr before `uplink` ends.
  void connect(RegistrationUplink* uplink);
  void on_register(std::uint64_t token, const RegisterFrame& frame) override;
  void on_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial) override;

  // --- the keeper
  // ----------------------------------------------------------------------------
  /// Takes in what children have answered, sends what found no room. Returns when to be called
  /// again at the latest; 0: no need.
  MonotonicNs attend(MonotonicNs now);
  /// From LateTable: see when_drained().
  void note_drained(std::uint64_t serial);

 private:
  struct Waiter {
    SubtreeAnswer answer;
    bool done = false;
  };
  struct Outgoing {
    std::uint64_t token;
    CallableSlot slot;
    std::uint64_t serial;
    std::shared_ptr<const RegisterRequest> request;  // nullptr: an unregister
  };
  struct Upward {
    FrameKind kind;
    std::uint64_t token;
    std::vector<std::byte> body;
  };

  void send_register(ChildIndex child, std::uint64_t token,
                     const RegisterRequest& request) override;
  void send_unregister(ChildIndex child, std::uint64_t token, CallableSlot slot,
                       std::uint64_t serial) override;
  void prepare(const RegisterRequest& request) override;
  void close(CallableSlot slot, std::uint64_t serial) override;
  void remove(CallableSlot slot, std::uint64_t serial) override;
  void answer_register(std::uint64_t asker, const SubtreeAnswer& answer) override;
  void answer_unregister(std::uint64_t asker, const SubtreeAnswer& answer) override;
  ChildAnswer about(ChildIndex child) override;

  void prepare_in_thread(const RegisterRequest& request);
  void finish_prepare(std::uint64_t serial, const Status& status);
  /// Asks the language whether to go on waiting, with the lock given back.
  void check_wait(std::unique_lock<std::mutex>& lock, std::uint64_t asker);
  void send(ChildIndex child, Outgoing outgoing);
  bool try_send(ChildIndex child, const Outgoing& outgoing);
  void answer_up(FrameKind kind, std::uint64_t token, const SubtreeAnswer& answer);
  std::size_t take_replies();
  void look_for(const Waiter& waiter, std::unique_lock<std::mutex>& lock);
  void set_looking(bool caller, bool keeper);
  void settle();
  void flush();
  bool waiting_for_room() const;
  /// Runs what `confirmed_` holds, with the lock given back.
  void tell_confirmed(std::unique_lock<std::mutex>& lock);

  LateTable& table_;
  Env& env_;
  Options options_;

  mutable std::mutex mutex_;  // guards all below, and the protocol
  std::condition_variable answered_;
  std::unique_ptr<RegistrationProtocol> protocol_;
  bool closed_ = true;
  std::uint64_t next_asker_ = 1;
  std::map<std::uint64_t, Waiter*> waiters_;
  std::map<std::uint64_t, std::function<void()>> leaving_;  // by asker
  std::vector<std::function<void()>> confirmed_;
  std::vector<std::pair<std::uint64_t, Status>> prepared_;  // to be told to the protocol
  std::vector<std::uint64_t> drained_;                      // likewise
  std::vector<std::deque<Outgoing>> outgoing_;              // by child: what found no room
  WakeBatch wakes_;                                         // children who have something to read
  std::deque<Upward> upward_;                               // likewise
  std::map<std::uint64_t, std::shared_ptr<const LoadedLibrary>> libraries_;  // by serial
  // Who looks for answers, so that those who give them need wake nobody.
  bool caller_looks_ = false;             // one of those in register_here()
  bool keeper_looks_ = false;             // it comes back within kTryAgainNs
  SpinPolicy spin_;                       // of the caller who looks
  RegistrationUplink* uplink_ = nullptr;  // nullptr: the root

  std::mutex noted_mutex_;  // taken while the Worker is driven: for a moment only
  std::vector<std::uint64_t> noted_drained_;

  RegistrarThread thread_;  // last: its jobs use the above
};

}  // namespace echelon::detail
