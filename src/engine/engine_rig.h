// SPDX-License-Identifier: Apache-2.0
//
// EngineRig: an Engine over NullEndpoints with a clock that only the test moves. For tests alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/null_endpoint.h"

namespace echelon {

inline constexpr Uid kRigIssuer{0xE11};
inline constexpr MonotonicNs kMs = 1'000'000;

/// Bytes [begin, end) of buffer `number`.
inline TensorDesc bytes_of(std::uint32_t number, std::int64_t begin, std::int64_t end) {
  const std::int64_t shape[] = {end - begin};
  TensorDesc desc = make_contiguous(kRigIssuer, BufferId::make(number, 1), kRigIssuer,
                                    DType::kUInt8, shape, Access::kReadWrite);
  desc.offset = static_cast<std::uint64_t>(begin);
  return desc;
}

/// Columns [begin, end) of buffer `number` as a matrix of `rows` x `pitch` bytes.
inline TensorDesc columns_of(std::uint32_t number, std::int64_t rows, std::int64_t pitch,
                             std::int64_t begin, std::int64_t end) {
  TensorDesc desc = bytes_of(number, begin, end);
  desc.rank = 2;
  desc.extent = {rows, end - begin};
  desc.stride = {pitch, 1};
  return desc;
}

/// For gtest's messages.
inline void PrintTo(TaskState state, std::ostream* out) {
  *out << to_string(state);
}
inline void PrintTo(Reason reason, std::ostream* out) {
  *out << to_string(reason);
}

class EngineRig final : public EngineListener {
 public:
  explicit EngineRig(const EngineLimits& limits = {}) : engine("pod0", limits, *this) {}

  /// Children do nothing by themselves unless `automatic`.
  struct ChildSpec {
    ChildKind kind = ChildKind::kSub;
    std::uint32_t window = 16;
    bool automatic = false;
    bool reap_at_once = true;
    NullEndpoint::Function function = {};
  };
  ChildIndex add(const ChildSpec& spec) {
    const ChildIndex index{static_cast<std::uint32_t>(children.size())};
    NullEndpoint::Options options;
    options.manual = !spec.automatic;
    options.reap_at_once = spec.reap_at_once;
    children.push_back(std::make_unique<NullEndpoint>(index, options, spec.function));
    const std::string name =
        std::string(to_string(spec.kind)) + std::to_string(counts_[spec.kind]++);
    engine.add_child({name, spec.kind, spec.window}, *children.back());
    return index;
  }
  void add_subs(int count) {
    for (int i = 0; i < count; ++i) add({});
  }

  RunId begin(MonotonicNs deadline_ns = 0) {
    return engine.begin_run({deadline_ns, ++tokens_}, now).value();
  }

  /// A task in the making; submits with operator().
  class Builder {
   public:
    Builder(EngineRig& rig, RunId run, std::string name) : rig_(rig) {
      spec_.run = run;
      spec_.slot = CallableSlot{++rig.slots_};
      spec_.callable = *rig.names_.emplace_back(std::make_unique<std::string>(std::move(name)));
      rig.slot_names[spec_.slot.value] = spec_.callable;
    }
    Builder& use(const TensorDesc& desc, Tag tag, std::uint64_t pin = 0) {
      accesses_.push_back({desc, tag, pin, std::nullopt});
      return *this;
    }
    Builder& only_at(ChildIndex child) {
      accesses_.back().only_at = child;
      return *this;
    }
    Builder& in(std::uint32_t number, std::int64_t begin = 0, std::int64_t end = 100) {
      return use(bytes_of(number, begin, end), Tag::kInput);
    }
    Builder& out(std::uint32_t number, std::int64_t begin = 0, std::int64_t end = 100) {
      return use(bytes_of(number, begin, end), Tag::kOutput);
    }
    Builder& inout(std::uint32_t number, std::int64_t begin = 0, std::int64_t end = 100) {
      return use(bytes_of(number, begin, end), Tag::kInout);
    }
    Builder& part(std::uint32_t number, std::int64_t begin = 0, std::int64_t end = 100) {
      return use(bytes_of(number, begin, end), Tag::kOutputExisting);
    }
    Builder& after(TaskId task) {
      after_.push_back(task);
      return *this;
    }
    Builder& at(ChildIndex child) {
      spec_.worker = child;
      return *this;
    }
    Builder& kind(TaskKind kind) {
      spec_.kind = kind;
      return *this;
    }
    Builder& deadline(MonotonicNs at_ns) {
      spec_.deadline_ns = at_ns;
      return *this;
    }
    Builder& scope(std::uint32_t scope) {
      spec_.scope = scope;
      return *this;
    }
    Builder& body(std::size_t bytes) {
      body_.resize(bytes);
      return *this;
    }
    const TaskSpec& spec() {
      spec_.accesses = accesses_;
      spec_.after = after_;
      spec_.body = body_;
      return spec_;
    }
    Result<TaskId> try_submit() { return rig_.engine.submit(spec(), rig_.now); }
    TaskId submit() { return try_submit().value(); }

   private:
    EngineRig& rig_;
    TaskSpec spec_;
    std::vector<TaskAccess> accesses_;
    std::vector<TaskId> after_;
    std::vector<std::byte> body_;
  };
  Builder task(RunId run, std::string name = "work") { return Builder(*this, run, name); }

  Status submit_group(std::vector<Builder>& members, std::vector<TaskId>& ids) {
    std::vector<TaskSpec> specs;
    for (Builder& member : members) specs.push_back(member.spec());
    ids.resize(specs.size());
    return engine.submit_group(specs, ids, now);
  }

  std::size_t poll() { return engine.poll(now); }
  void advance_to(MonotonicNs to) {
    now = to;
    engine.tick(now);
  }
  void seal(RunId run, Status status = {}) { engine.seal_run(run, std::move(status), now); }

  TaskState state(TaskId task) const { return engine.task(task).state; }
  NullEndpoint& child(ChildIndex index) { return *children[index.value]; }

  /// The task must be at some child; its completion is reported at once.
  void finish(TaskId task, const Status& status = {}, std::span<const std::byte> result = {}) {
    for (auto& child : children) {
      if (!child->holds(task)) continue;
      child->finish(task, status, result);
      poll();
      return;
    }
    ADD_FAILURE() << "no child holds the task";
  }

  /// The run's end; nullopt: it has not ended.
  std::optional<Status> end_of(RunId run) const {
    const auto found = ends.find(run.value);
    if (found == ends.end()) return std::nullopt;
    return found->second;
  }

  void on_run_end(RunId run, std::uint64_t, const Status& status) override {
    EXPECT_FALSE(ends.contains(run.value)) << "a run ends once";
    ends[run.value] = status;
  }
  void on_release(std::uint64_t pin) override { releases.push_back(pin); }

  MonotonicNs now = 1000 * kMs;
  std::vector<std::unique_ptr<NullEndpoint>> children;
  Engine engine;
  std::map<std::uint64_t, Status> ends;
  std::vector<std::uint64_t> releases;
  std::map<std::uint32_t, std::string> slot_names;

 private:
  std::map<ChildKind, int> counts_;
  std::vector<std::unique_ptr<std::string>> names_;
  std::uint32_t slots_ = 0;
  std::uint64_t tokens_ = 0;
};

/// A callable's failure, as a child reports it.
inline Status thrown(std::string message) {
  ErrorInfo info;
  info.code = Code::kUnknown;
  info.reason = Reason::kException;
  info.cause = Cause::kException;
  info.message = std::move(message);
  return Status(std::move(info));
}

/// A death, as an endpoint reports it.
inline Status killed(std::string path) {
  ErrorInfo info;
  info.code = Code::kUnavailable;
  info.reason = Reason::kChildDied;
  info.cause = Cause::kSignal;
  info.signal = 9;
  info.pid = 71;
  info.message = path + " was killed by signal 9";
  info.path = std::move(path);
  return Status(std::move(info));
}

}  // namespace echelon
