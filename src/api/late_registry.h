// SPDX-License-Identifier: Apache-2.0
//
// LateRegistry: the root's book of what was registered in its running tree - slots, serials, names,
// identities, how often each was registered, and which slots may be given out again.
//
//   claim() -> Claimed -> settle(ok) -> Registered -> drop() -> Leaving -> forget() -> (free)
//                      \> settle(failed) ----------------------^
//
// A slot is free again after forget() alone, which follows the confirmation of every child: one
// that has not confirmed keeps it, and is named by doubts().
//
// Threads: any. Blocking: claim(), while another thread registers the same thing.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <echelon/handles.h>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "process/registration_codec.h"

namespace echelon::detail {

class LateRegistry {
 public:
  struct Wanted {
    std::uint64_t owner = 0;
    RegisteredKind kind = RegisteredKind::kSub;
    std::string name;
    bool name_given = true;
    std::string identity;  // hex SHA-256 of the descriptor
  };
  struct Claim {
    CallableRef ref;
    bool known = false;  // registered already: nothing is to be done
  };
  /// Errors: kAlreadyExists for a given name of other content; kExhausted without a free slot,
  /// naming what is in doubt. Where another thread registers the same thing, `check_wait` is asked
  /// now and then: what it throws leaves this, and nothing is claimed. May be empty.
  Result<Claim> claim(const Wanted& wanted, const std::function<void()>& check_wait = {});
  /// How it went. After a failure its slot waits for forget(); `silent` gave no answer.
  void settle(const CallableRef& ref, bool ok, std::vector<std::string> silent, MonotonicNs now);

  struct Dropped {
    bool last = false;  // it is to be unregistered
    RegisteredKind kind = RegisteredKind::kSub;
  };
  /// One registration less. Errors: kStaleHandle where there is none left.
  Result<Dropped> drop(const CallableRef& ref, MonotonicNs now);
  /// Whether it is registered, at least once.
  bool holds(const CallableRef& ref) const;
  /// Every child has confirmed.
  void forget(const CallableRef& ref);
  /// The tree has ended: everything is forgotten, and every slot free. Serials go on.
  void clear();

  /// A slot whose children have not all confirmed for long, or did not answer at all.
  struct Doubt {
    CallableRef ref;
    std::string name;
    std::vector<std::string> silent;  // paths, where known
  };
  std::vector<Doubt> doubts(MonotonicNs now) const;

  /// How long a confirmation may take before it is in doubt.
  static constexpr MonotonicNs kDoubtAfterNs = 30'000'000'000;

 private:
  enum class Stage : std::uint8_t { kClaimed, kRegistered, kLeaving };
  struct Entry {
    Wanted what;
    CallableRef ref;
    Stage stage = Stage::kClaimed;
    std::uint64_t count = 0;
    MonotonicNs leaving_since_ns = 0;
    std::vector<std::string> silent;
  };
  using Key = std::tuple<std::uint64_t, RegisteredKind, std::string>;  // owner, kind, text

  const Entry* find(const CallableRef& ref) const;
  Entry* find(const CallableRef& ref);
  Status check_name(const Wanted& wanted) const;
  void leave(Entry& entry, MonotonicNs now);
  Result<CallableSlot> take_slot();

  mutable std::mutex mutex_;
  std::condition_variable settled_;
  std::map<std::uint64_t, Entry> entries_;    // by serial
  std::map<Key, std::uint64_t> by_identity_;  // serials of Claimed and Registered ones
  std::map<Key, std::uint64_t> by_name_;      // of given names, likewise
  std::set<std::uint32_t> free_slots_;
  std::uint32_t slots_made_ = 0;
  std::uint64_t next_serial_ = 1;
};

}  // namespace echelon::detail
