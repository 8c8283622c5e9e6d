// SPDX-License-Identifier: Apache-2.0
//
// RunTable and ScopeTable: what belongs together. A run ends, fails and is cancelled as one; a
// scope counts what was submitted under its name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/pool.h"

namespace echelon {

struct Run {
  std::uint32_t next = kNoIndex;  // the free list's
  std::uint32_t generation = 0;   // 0: never used; odd and even mean nothing
  bool in_use = false;
  bool sealed = false;
  bool ended = false;  // on_run_end was called, or is about to be
  bool cancelled = false;
  bool expired = false;                 // its deadline has passed
  std::uint32_t first_task = kNoIndex;  // by Task::run_next: not ended, or retained
  std::uint32_t last_task = kNoIndex;
  std::uint32_t live = 0;    // tasks not ended
  std::uint32_t scopes = 0;  // of its scopes, those not forgotten
  std::uint64_t tasks = 0;   // submitted, ever
  MonotonicNs deadline_ns = 0;
  std::uint64_t token = 0;
  std::vector<std::shared_ptr<const ErrorInfo>> errors;  // the first, then errors_per_run_max more
  std::uint64_t errors_left_out = 0;
  std::uint64_t skipped = 0;
};

class RunTable {
 public:
  explicit RunTable(const EngineLimits& limits)
      : runs_(limits.runs_max), errors_max_(limits.errors_per_run_max) {}

  Run& operator[](std::uint32_t index) { return runs_[index]; }
  const Run& operator[](std::uint32_t index) const { return runs_[index]; }
  RunId id(std::uint32_t index) const;
  /// kNoIndex for an id whose run was released.
  std::uint32_t find(RunId id) const;
  std::uint32_t allocate(const RunSpec& spec);
  void free(std::uint32_t index);

  /// Adds to the run's errors; beyond the limit it only counts.
  void record_error(Run& run, std::shared_ptr<const ErrorInfo> error) const;
  /// The function's own error comes first, unless it only repeats why the run ended.
  void record_function_error(Run& run, std::shared_ptr<const ErrorInfo> error) const;
  /// The first error with the others in it; ok where there are none.
  static Status status(const Run& run);

  std::uint32_t made() const { return runs_.made(); }
  std::uint32_t live() const { return runs_.live(); }
  std::uint32_t max() const { return runs_.max(); }
  std::size_t memory_bytes() const { return runs_.memory_bytes(); }

 private:
  ChunkPool<Run, 4> runs_;
  std::uint32_t errors_max_;
};

struct Scope {
  std::uint32_t next = kNoIndex;    // the free list's
  std::uint32_t generation = 0;     // 16 bits of it are in the id
  std::uint32_t run = kNoIndex;     // kNoIndex: free
  std::uint32_t parent = kNoIndex;  // index
  std::uint32_t live = 0;           // tasks not ended, of scopes below too
  std::uint32_t own_live = 0;       // its own alone
  std::uint32_t children = 0;       // scopes below, not forgotten
  bool closed = false;
  std::string name;  // "epoch/step"
};

class ScopeTable {
 public:
  explicit ScopeTable(const EngineLimits& limits);

  /// An id is never 0. kNoIndex from find(): forgotten, or never there.
  std::uint32_t id(std::uint32_t index) const;
  std::uint32_t find(std::uint32_t id) const;
  Scope& operator[](std::uint32_t index) { return scopes_[index]; }
  const Scope& operator[](std::uint32_t index) const { return scopes_[index]; }

  /// REQUIRES: room() != 0. `parent` is an index, or kNoIndex.
  std::uint32_t open(std::uint32_t run, std::uint32_t parent, std::string_view name);
  /// A task has come (+1) or ended (-1). Returns how many scopes were forgotten by it.
  std::uint32_t count(std::uint32_t index, int change);
  /// Returns how many scopes were forgotten by it.
  std::uint32_t close(std::uint32_t index);
  /// Forgets all scopes of a run.
  void forget_run(std::uint32_t run);
  /// True: a closed scope waits for its tasks, and room comes when they end.
  bool room_will_come() const;

  std::uint32_t made() const { return scopes_.made(); }
  std::uint32_t room() const { return scopes_.room(); }
  std::uint32_t max() const { return scopes_.max(); }
  std::size_t memory_bytes() const { return scopes_.memory_bytes(); }

 private:
  std::uint32_t forget_done(std::uint32_t index);
  void forget(std::uint32_t index);

  ChunkPool<Scope, 4> scopes_;
};

}  // namespace echelon
