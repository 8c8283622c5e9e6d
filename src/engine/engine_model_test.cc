// SPDX-License-Identifier: Apache-2.0
//
// Differential: the engine against a model that compares every task with every other, byte by byte.
// A failure prints its seed; ECHELON_ENGINE_SEED runs one seed alone, ECHELON_ENGINE_SEEDS that
// many.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <set>
#include <sstream>

#include "engine/access_map.h"
#include "engine/engine_rig.h"

namespace echelon {
namespace {

constexpr std::uint32_t kBuffers = 3;
constexpr std::int64_t kBytes = 24;
constexpr std::uint32_t kNone = 0xFFFFFFFFu;

struct ModelAccess {
  std::uint32_t buffer = 0;
  Tag tag = Tag::kInput;
  std::set<std::int64_t> bytes;
};

struct ModelTask {
  TaskId id;
  std::size_t run = 0;
  std::uint32_t group = kNone;
  std::vector<ModelAccess> accesses;
  std::set<std::size_t> before;  // by order alone, or by data
  std::set<std::size_t> needs;   // by data
  bool ended = false;
  bool bad = false;
  std::uint32_t held_by = kNone;  // a dying child
};

bool share_bytes(const ModelAccess& a, const ModelAccess& b) {
  if (a.buffer != b.buffer) return false;
  for (const std::int64_t byte : a.bytes)
    if (b.bytes.contains(byte)) return true;
  return false;
}

class Model {
 public:
  std::vector<ModelTask> tasks;

  /// Adds a task; `after` must stand in `before` and `needs` already.
  void submit(ModelTask task) {
    for (std::size_t i = 0; i < tasks.size(); ++i)
      if (!same_group(tasks[i], task) && conflict(tasks[i], task)) task.before.insert(i);
    for (const ModelAccess& access : task.accesses)
      if (reads(access.tag))
        for (const std::int64_t byte : access.bytes) add_needs(task, access.buffer, byte);
    tasks.push_back(std::move(task));
  }
  /// What poison was there already; after all of a group are submitted.
  void publish(std::size_t index) {
    for (const std::size_t need : tasks[index].needs)
      if (tasks[need].bad) return fail(index);
  }

  void fail(std::size_t index) {
    if (tasks[index].ended) return;
    tasks[index].ended = tasks[index].bad = true;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (tasks[i].ended) continue;
      if (tasks[i].needs.contains(index)) skip(i);
    }
  }

  /// For each task whether all that stand before it have let it go.
  std::vector<bool> may_start() const {
    std::vector<bool> released(tasks.size()), start(tasks.size(), true);
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      for (const std::size_t before : tasks[i].before) start[i] = start[i] && released[before];
      released[i] = start[i] && tasks[i].ended && tasks[i].held_by == kNone;
    }
    return start;
  }

 private:
  static bool same_group(const ModelTask& a, const ModelTask& b) {
    return a.group != kNone && a.group == b.group;
  }
  static bool conflict(const ModelTask& a, const ModelTask& b) {
    for (const ModelAccess& x : a.accesses)
      for (const ModelAccess& y : b.accesses)
        if ((writes(x.tag) || writes(y.tag)) && share_bytes(x, y)) return true;
    return false;
  }
  /// Whoever's bytes these are: newest first, until one has written them all anew.
  void add_needs(ModelTask& task, std::uint32_t buffer, std::int64_t byte) const {
    std::map<std::size_t, std::size_t> overlaid;  // run -> the newer task that took the byte over
    std::size_t anew_by = tasks.size();
    for (std::size_t i = tasks.size(); i-- > 0;) {
      const ModelTask& other = tasks[i];
      if (same_group(other, task)) continue;
      // Members of a group that write the same byte are not ordered: both are needed.
      if (anew_by != tasks.size() && !same_group(other, tasks[anew_by])) return;
      bool wrote = false, anew = false, over = false;
      for (const ModelAccess& access : other.accesses) {
        if (access.buffer != buffer || !access.bytes.contains(byte)) continue;
        wrote |= writes(access.tag);
        anew |= access.tag == Tag::kOutput;
        over |= access.tag == Tag::kInout;
      }
      if (!wrote) continue;
      const auto over_it = overlaid.find(other.run);
      const bool seen = over_it == overlaid.end() || same_group(other, tasks[over_it->second]);
      if (seen && (other.run == task.run || !other.ended)) task.needs.insert(i);
      if (anew) anew_by = i;
      if (over && seen) overlaid[other.run] = i;
    }
  }
  void skip(std::size_t index) {
    const std::uint32_t group = tasks[index].group;
    fail(index);
    if (group == kNone) return;
    for (std::size_t i = 0; i < tasks.size(); ++i)
      if (tasks[i].group == group) fail(i);
  }
};

struct Options {
  std::uint64_t seed = 1;
  bool columns = false;  // strided views too; then nothing fails, for what they spoil is not exact
  std::size_t runs = 1;
  bool deaths = false;
};

/// One random history, applied to both.
class History {
 public:
  explicit History(const Options& options) : options_(options), random_(options.seed) {
    for (int i = 0; i < 4; ++i) rig_.add({.window = 3, .reap_at_once = false});
    for (std::size_t i = 0; i < options.runs; ++i) runs_.push_back(rig_.begin());
    cancelled_.resize(options.runs);
  }

  /// The log of all states after each step; empty: a check has failed.
  std::string play(int steps) {
    for (int step = 0; step < steps; ++step) {
      one_step();
      check(step);
      if (::testing::Test::HasFailure()) return {};
    }
    finish_all();
    return log_.str();
  }

 private:
  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random_() % bound); }

  void one_step() {
    const std::uint32_t dice = below(100);
    if (dice < 45)
      submit_some();
    else if (dice < 60)
      rig_.child({below(4)}).take();
    else if (dice < 95)
      end_one();
    else if (dice < 98)
      kill_one();
    else if (options_.runs > 1 && !options_.columns)
      cancel_one();
    rig_.poll();
  }

  void random_access(EngineRig::Builder& builder, ModelTask& task) {
    constexpr Tag kTags[] = {Tag::kInput, Tag::kInput, Tag::kOutput, Tag::kInout,
                             Tag::kOutputExisting};
    ModelAccess access{below(kBuffers), kTags[below(5)], {}};
    if (options_.columns && below(2) == 0) {
      const std::int64_t begin = below(6),
                         end = begin + 1 + below(static_cast<std::uint32_t>(6 - begin));
      builder.use(columns_of(access.buffer, 4, 6, begin, end), access.tag);
      for (std::int64_t row = 0; row < 4; ++row)
        for (std::int64_t column = begin; column < end; ++column)
          access.bytes.insert(row * 6 + column);
    } else {
      const std::int64_t begin = below(kBytes);
      const std::int64_t end = begin + 1 + below(static_cast<std::uint32_t>(kBytes - begin));
      builder.use(bytes_of(access.buffer, begin, end), access.tag);
      for (std::int64_t byte = begin; byte < end; ++byte) access.bytes.insert(byte);
    }
    task.accesses.push_back(std::move(access));
  }

  EngineRig::Builder random_task(std::size_t run, ModelTask& task) {
    EngineRig::Builder builder = rig_.task(runs_[run]);
    task.run = run;
    for (std::uint32_t i = below(3); i-- > 0;) random_access(builder, task);
    if (!model_.tasks.empty() && below(5) == 0) {
      const std::size_t other = below(static_cast<std::uint32_t>(model_.tasks.size()));
      builder.after(model_.tasks[other].id);
      task.before.insert(other);
      task.needs.insert(other);
    }
    return builder;
  }

  void submit_some() {
    const std::size_t run = below(static_cast<std::uint32_t>(options_.runs));
    if (cancelled_[run] || model_.tasks.size() > 150) return;
    const bool grouped = below(8) == 0;
    const std::size_t count = grouped ? 1 + below(2) : 1;
    std::vector<ModelTask> made(count);
    std::vector<EngineRig::Builder> builders;
    for (ModelTask& task : made) builders.push_back(random_task(run, task));
    std::vector<TaskId> ids(1);
    if (grouped) {
      if (!rig_.submit_group(builders, ids).ok()) return;
    } else {
      const auto id = builders[0].try_submit();
      ASSERT_TRUE(id.ok()) << id.status().to_string();
      ids[0] = *id;
    }
    const std::size_t first = model_.tasks.size();
    for (std::size_t i = 0; i < count; ++i) {
      made[i].id = ids[i];
      if (grouped) made[i].group = static_cast<std::uint32_t>(first);
      model_.submit(std::move(made[i]));
    }
    for (std::size_t i = first; i < model_.tasks.size(); ++i) model_.publish(i);
    for (std::size_t i = first; grouped && i < model_.tasks.size(); ++i)
      if (model_.tasks[i].bad)
        for (std::size_t j = first; j < model_.tasks.size(); ++j) model_.fail(j);
  }

  std::vector<std::size_t> held_at(std::uint32_t child) const {
    std::vector<std::size_t> held;
    for (std::size_t i = 0; i < model_.tasks.size(); ++i)
      if (!model_.tasks[i].ended && rig_.children[child]->holds(model_.tasks[i].id))
        held.push_back(i);
    return held;
  }

  void end_one() {
    const std::uint32_t child = below(4);
    const auto held = held_at(child);
    if (held.empty()) return;
    const std::size_t index = held[below(static_cast<std::uint32_t>(held.size()))];
    ASSERT_TRUE(model_.may_start()[index]) << "it was dispatched too early";
    const bool fails = !options_.columns && below(8) == 0;
    rig_.child({child}).finish(model_.tasks[index].id, fails ? thrown("no") : Status());
    if (fails)
      model_.fail(index);
    else
      model_.tasks[index].ended = true;
  }

  void kill_one() {
    if (!options_.deaths) return;
    const std::uint32_t child = below(4);
    if (dying_.contains(child)) {
      rig_.child({child}).reap();
      for (ModelTask& task : model_.tasks)
        if (task.held_by == child) task.held_by = kNone;
      return;
    }
    if (dying_.size() == 2) return;
    dying_.insert(child);
    for (const std::size_t index : held_at(child)) {
      if (rig_.children[child]->progress(model_.tasks[index].id) != Progress::kTaken) continue;
      model_.tasks[index].held_by = child;
      model_.fail(index);
    }
    rig_.child({child}).die(killed("pod0/sub"));
  }

  void cancel_one() {
    const std::size_t run = below(static_cast<std::uint32_t>(options_.runs));
    if (run == 0 || cancelled_[run]) return;
    cancelled_[run] = true;
    std::set<std::size_t> taken;
    for (std::uint32_t child = 0; child < 4; ++child)
      for (const std::size_t index : held_at(child))
        if (rig_.children[child]->progress(model_.tasks[index].id) == Progress::kTaken)
          taken.insert(index);
    rig_.engine.cancel_run(runs_[run], {}, rig_.now);
    for (std::size_t i = 0; i < model_.tasks.size(); ++i)
      if (model_.tasks[i].run == run && !taken.contains(i)) model_.fail(i);
  }

  void check(int step) {
    const std::vector<bool> may_start = model_.may_start();
    for (std::size_t i = 0; i < model_.tasks.size(); ++i) {
      const ModelTask& task = model_.tasks[i];
      const TaskState state = rig_.state(task.id);
      log_ << static_cast<int>(state);
      const bool ended = state >= TaskState::kDone;
      ASSERT_EQ(ended, task.ended)
          << where(step, i) << rig_.engine.task(task.id).status.to_string();
      ASSERT_EQ(ended && state != TaskState::kDone, task.bad) << where(step, i) << to_string(state);
      if (ended) continue;
      ASSERT_EQ(state != TaskState::kWaiting, may_start[i]) << where(step, i) << to_string(state);
    }
    for (const auto& child : rig_.children) log_ << ':' << child->dispatched();
    log_ << '\n';
  }

  /// Everything left ends well, and nothing stays behind.
  void finish_all() {
    for (const std::uint32_t child : dying_) rig_.child({child}).reap();
    for (int round = 0; round < 2000 && (round < 2 || !rig_.engine.idle()); ++round) {
      rig_.poll();
      for (std::uint32_t child = 0; child < 4; ++child)
        for (const std::size_t index : held_at(child)) {
          if (dying_.contains(child)) continue;
          rig_.child({child}).finish(model_.tasks[index].id);
          model_.tasks[index].ended = true;
        }
    }
    for (const RunId run : runs_) {
      rig_.seal(run);
      ASSERT_TRUE(rig_.end_of(run)) << "seed " << options_.seed;
      rig_.engine.release_run(run);
    }
    EXPECT_EQ(rig_.engine.counters().tasks_live, 0u) << "seed " << options_.seed;
    EXPECT_TRUE(rig_.engine.idle());
  }

  std::string where(int step, std::size_t index) const {
    return "seed " + std::to_string(options_.seed) + ", step " + std::to_string(step) + ", task " +
           std::to_string(index) + "\n" + told() + "the task: ";
  }

  /// The history so far, for a failure's message.
  std::string told() const {
    std::ostringstream out;
    for (std::size_t i = 0; i < model_.tasks.size(); ++i) {
      const ModelTask& task = model_.tasks[i];
      out << i << ": run " << task.run << (task.ended ? task.bad ? " bad" : " done" : " live");
      if (task.group != kNone) out << " group " << task.group;
      for (const ModelAccess& access : task.accesses)
        out << ", tag " << static_cast<int>(access.tag) << " of " << access.buffer << " ["
            << *access.bytes.begin() << ".." << *access.bytes.rbegin() << "]";
      for (const std::size_t before : task.before)
        out << (task.needs.contains(before) ? " needs " : " after ") << before;
      out << '\n';
    }
    return out.str();
  }

  const Options options_;
  std::mt19937_64 random_;
  EngineRig rig_;
  Model model_;
  std::vector<RunId> runs_;
  std::vector<bool> cancelled_;
  std::set<std::uint32_t> dying_;
  std::ostringstream log_;
};

void play_seeds(Options options, std::uint64_t count) {
  const char* const only = std::getenv("ECHELON_ENGINE_SEED");
  if (const char* const many = std::getenv("ECHELON_ENGINE_SEEDS"))
    count = std::strtoull(many, nullptr, 10);
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    options.seed = only == nullptr ? seed : std::strtoull(only, nullptr, 10);
    History history(options);
    history.play(250);
    if (::testing::Test::HasFailure()) FAIL() << "ECHELON_ENGINE_SEED=" << options.seed;
    if (only != nullptr) return;
  }
}

TEST(EngineModel, OneRunWithFailures) {
  play_seeds({}, 60);
}
TEST(EngineModel, SeveralRunsWithFailuresAndCancels) {
  play_seeds({.runs = 3}, 60);
}
TEST(EngineModel, Deaths) {
  play_seeds({.runs = 2, .deaths = true}, 60);
}
TEST(EngineModel, StridedViews) {
  play_seeds({.columns = true, .runs = 2}, 60);
}

TEST(EngineModel, TheSameInputsGiveTheSameOutputs) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const Options options{.seed = seed, .runs = 3, .deaths = true};
    EXPECT_EQ(History(options).play(200), History(options).play(200));
  }
}

}  // namespace
}  // namespace echelon
