// SPDX-License-Identifier: Apache-2.0
//
// What stands behind a Worker before, while and after it runs.
//
//   New -> Started -> Closed -> Started ...      only a Worker without a parent is started
//
// Threads: mutex guards all that changes, and is held while the tree is started, forks and all:
// what only asks (running_or_null(), frozen) does without it. Fork: next-level Workers inherit the
// whole tree of states; in a process that the program forked, a state is inert, and its mutexes may
// be held for ever: check_here() comes first.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include <echelon/worker.h>

#include "api/callables.h"
#include "api/late_registry.h"
#include "api/node.h"
#include "base/env.h"
#include "base/fork_generation.h"
#include "process/worker_pools.h"

namespace echelon {

struct RemoteWorkerSpec;

namespace detail {
/// With its defaults filled in. Throws InvalidArgument.
WorkerOptions checked(WorkerOptions options);
}  // namespace detail

struct Worker::State : std::enable_shared_from_this<Worker::State> {
  enum class Life : std::uint8_t { kNew, kStarted, kClosed };

  State(WorkerOptions given, std::uint64_t identity);

  /// Throws WrongState in a forked copy; `call` names what was tried.
  void check_here(const char* call) const;
  /// Throws WrongState for a Worker that is below another.
  void check_root(const char* call) const;
  /// Throws InvalidArgument where no Worker of level `below` may stand below this one.
  void check_below(const char* call, const std::string& name, int below) const;
  /// Throws WrongState while the tree runs, InvalidArgument for a name that is taken.
  void check_room_below(const char* call, const std::string& name) const;
  /// A child on another host, with those below it; not adopted yet. Throws InvalidArgument for what
  /// is wrong with it, and what check_below() and check_room_below() throw.
  std::shared_ptr<State> make_remote(const RemoteWorkerSpec& spec) const;
  /// A child that has passed the checks.
  WorkerId adopt(std::shared_ptr<State> child);
  /// The node, started if it has not been yet. Throws what start() throws; WrongState after
  /// close().
  std::shared_ptr<detail::Node> running(const char* call);
  std::shared_ptr<detail::Node> running_or_null() const;
  /// Returns the one before.
  std::shared_ptr<detail::Node> exchange_node(std::shared_ptr<detail::Node> next);
  /// What a long wait of the program asks now and then; empty: nothing.
  std::function<void()> check_wait() const;
  void start_locked();
  void close();

  detail::CallableRef add(detail::Callable callable);
  /// Loads it here, to be inherited.
  detail::CallableRef add_library(const std::string& name, std::span<const std::byte> file);
  /// worker_registration.cc: in a running tree.
  struct Shipping {
    RegisteredKind kind = RegisteredKind::kSub;
    embedding::Form form = embedding::Form::kName;
    std::string name;
    bool name_given = true;
    std::shared_ptr<const Payload> payload;
    std::chrono::milliseconds timeout{0};
  };
  detail::CallableRef ship(const Shipping& what);
  detail::CallableRef ship_named(RegisteredKind kind, std::string_view name,
                                 std::chrono::milliseconds timeout);
  void unregister(const detail::CallableRef& ref);
  /// Whether the tree that it is in runs.
  bool is_frozen() const { return frozen; }
  /// Whether it is the identity of this Worker or of one below.
  bool owns(std::uint64_t owner) const;
  void check_can_run(RegisteredKind kind, const std::string& call) const;
  void check_free_name(const Shipping& what, const std::string& call) const;
  /// The Worker at the top, and the way from there to here.
  std::shared_ptr<State> root(std::vector<std::uint32_t>& route);
  /// " ... has not confirmed ..."; empty: all have.
  std::string doubts_text();
  void add_doubts(NodeInfo& tree);
  const std::shared_ptr<detail::OwnPool>& own_pool();

  /// "pod0/host1", as far as parents are known.
  std::string path() const;
  std::size_t sub_worker_count() const { return static_cast<std::size_t>(options.sub_workers); }
  /// Throws InvalidArgument for a callable that nobody at or below this Worker can run.
  void check_runnable() const;
  bool has_subs() const;
  bool has_chips() const;
  /// Registering is refused while the tree runs.
  void freeze(bool on);

  /// The children as a Node starts them; `deadline_ns` is the whole tree's.
  std::vector<detail::ChildPlan> plans(MonotonicNs deadline_ns);
  detail::NodeOptions node_options(std::string at, MonotonicNs deadline_ns);
  NodeInfo planned_info(const std::string& parent_path) const;

  const WorkerOptions options;
  const ForkMark mark;
  mutable std::recursive_mutex mutex;
  detail::Registrations registrations;
  std::vector<std::shared_ptr<State>> children;
  /// Of a Worker that runs on another host: nothing here but its place in the tree.
  std::shared_ptr<const RemoteWorkerSpec> remote;
  std::weak_ptr<State> parent;
  bool has_parent = false;
  std::atomic<bool> frozen{false};
  Life life = Life::kNew;
  std::shared_ptr<detail::OwnPool> pool;
  const std::shared_ptr<detail::LateRegistry> late = std::make_shared<detail::LateRegistry>();

  // While started; in a next-level Worker's process made anew.
  std::shared_ptr<const embedding::Language> language;  // the whole tree's
  // The node's, too: a run may still be using the one before when the tree is started again.
  std::shared_ptr<detail::CallableTable> table;
  std::shared_ptr<WorkerPools> pools;

 private:
  mutable std::mutex node_mutex_;  // of node_ alone; kept for no longer than a copy takes
  std::shared_ptr<detail::Node> node_;
};

}  // namespace echelon
