// SPDX-License-Identifier: Apache-2.0
//
// RegistrationProtocol: how one Worker passes registrations on to its children and forgets them
// again. A protocol without I/O: what came in, what is to be done goes out
// (docs/design/0011-registration.md).
//
//   a callable here
//     Preparing -> Ready        all have answered, or the time was up; the asker has been told
//     Preparing, Ready -> Closing    unregister: refused here from now on
//     Closing -> Leaving        nothing here uses it any more; the children were told to forget it
//     Leaving -> (forgotten)    every child has confirmed, or has died; the asker has been told
//
// REG-1  A child is told to forget what it was ever told of, whatever it answered, and a callable
//        is forgotten here only after that was confirmed. So a slot whose unregister has been
//        answered is known to nobody below.
// REG-2  A failure registers nothing: whoever asked unregisters after an answer that is not ok.
//
// Threads: one at a time. Blocking: never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/ids.h"
#include "engine/endpoint.h"
#include "process/registration_codec.h"

namespace echelon {

/// What the protocol has done. None may call the protocol.
class RegistrationOutputs {
 public:
  virtual void send_register(ChildIndex child, std::uint64_t token,
                             const RegisterRequest& request) = 0;
  virtual void send_unregister(ChildIndex child, std::uint64_t token, CallableSlot slot,
                               std::uint64_t serial) = 0;
  /// Make it known here; on_prepared() says how that went. Not called for what only passes through.
  virtual void prepare(const RegisterRequest& request) = 0;
  /// Refuse it here from now on; on_drained() follows when nothing uses it any more.
  virtual void close(CallableSlot slot, std::uint64_t serial) = 0;
  /// Nothing uses it: let it go.
  virtual void remove(CallableSlot slot, std::uint64_t serial) = 0;
  /// To whoever asked with this token.
  virtual void answer_register(std::uint64_t asker, const SubtreeAnswer& answer) = 0;
  virtual void answer_unregister(std::uint64_t asker, const SubtreeAnswer& answer) = 0;
  /// For answers about a child that gives none itself: its path, pid, and what it is known to be
  /// doing ("" where nothing is).
  virtual ChildAnswer about(ChildIndex child) = 0;

 protected:
  ~RegistrationOutputs() = default;
};

class RegistrationProtocol {
 public:
  /// `self` is this process, as it answers for itself.
  RegistrationProtocol(std::vector<ChildKind> children, ChildAnswer self,
                       RegistrationOutputs& outputs);

  // --- inputs
  // ----------------------------------------------------------------------------------
  void on_register(std::uint64_t asker, const RegisterRequest& request);
  void on_unregister(std::uint64_t asker, CallableSlot slot, std::uint64_t serial);
  /// A late answer, to what has been given up, changes nothing. False: nothing that this child was
  /// sent is answered by it.
  bool on_answer(ChildIndex child, std::uint64_t token, SubtreeAnswer answer);
  /// This process has done what prepare() asked for.
  void on_prepared(std::uint64_t serial, const Status& status);
  /// Follows close().
  void on_drained(std::uint64_t serial);
  void on_child_down(ChildIndex child, std::string_view why);
  /// Gives up waiting where the time is up.
  void on_time(MonotonicNs now);

  // --- questions
  // ------------------------------------------------------------------------------
  /// 0: none.
  MonotonicNs next_deadline_ns() const;
  /// Of some child that it has forgotten something; and nobody waits for anything else.
  bool awaits_confirmations_alone() const { return !sent_.empty() && preparing_.empty(); }
  bool live(ChildIndex child) const { return live_[child.value]; }
  /// Children that have not confirmed yet that they forgot it.
  std::vector<ChildIndex> unconfirmed(std::uint64_t serial) const;
  std::size_t known() const { return entries_.size(); }

 private:
  enum class Stage : std::uint8_t { kPreparing, kReady, kClosing, kLeaving };
  struct Entry {
    CallableSlot slot;
    std::uint64_t serial = 0;
    Stage stage = Stage::kPreparing;
    bool here = false;       // prepared in this process, not only passed through
    bool runs_here = false;  // and called here
    bool foreign = false;
    bool preparing = false;  // prepare() has not been answered
    bool drained = false;
    bool gave_up = false;  // on some child's answer
    std::string doing;     // what prepare() is at
    MonotonicNs deadline_ns = 0;
    std::uint64_t asker = 0;
    std::set<ChildIndex> told;     // of it
    std::set<ChildIndex> pending;  // of these an answer is awaited
    SubtreeAnswer answer;
  };
  struct Sent {
    std::uint64_t serial;
    ChildIndex child;
    bool unregister;
  };
  using Entries = std::map<std::uint64_t, Entry>;

  std::vector<ChildIndex> targets(const RegisterRequest& request) const;
  bool routable(const RegisterRequest& request) const;
  ChildAnswer self(AnswerOutcome outcome, std::string message) const;
  void refuse(std::uint64_t asker, std::string message);
  void settle_register(Entry& entry);
  void settle_leaving(Entries::iterator at);
  void leave_if_drained(Entries::iterator at);

  std::vector<ChildKind> kinds_;
  std::vector<bool> live_;
  const ChildAnswer self_;
  RegistrationOutputs& outputs_;
  Entries entries_;                     // by serial
  std::map<std::uint64_t, Sent> sent_;  // by token
  std::set<std::uint64_t> preparing_;   // serials
  std::uint64_t next_token_ = 1;
};

}  // namespace echelon
