// SPDX-License-Identifier: Apache-2.0
#include "process/child_connection.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <utility>

#include "base/build_id.h"
#include "process/last_words.h"
#include "process/leaf_registration.h"
#include "process/liveness.h"

namespace echelon {
namespace {

constexpr int kExitFailed = 1;

Result<Segment> open_doorbell(UniqueFd fd) {
  MapOptions options;
  options.dont_fork = true;
  auto segment = Segment::open(std::move(fd), 0, options);
  if (segment.ok() && segment->size() < sizeof(DoorbellData)) {
    return Status::error(Code::kDataLoss, Reason::kBadFrame,
                         "the parent's doorbell is smaller than a doorbell");
  }
  return segment;
}

ControlHooks make_hooks(TaskServer& server, const Leaf& leaf, pthread_t executor,
                        RegistrationHooks* registration) {
  ControlHooks hooks;
  hooks.cancel = [&server](TaskId task) { server.request_cancel(task); };
  hooks.shutdown = [&server] { server.stop(); };
  if (leaf.stats) {
    hooks.stats = [&server, &leaf] { return leaf.stats(server.counters()); };
  }
  hooks.stack = [executor, &leaf] {
    return (leaf.stack ? leaf.stack() : std::string()) + stack_of(executor);
  };
  hooks.registration = registration;
  return hooks;
}

int serve_leaf(ChildConnection& connection, const Leaf& leaf, TaskHandler& handler) {
  TaskServer server({connection.boot().path}, connection.channel(), connection.edge(),
                    connection.parent_doorbell(), connection.env());
  if (const Status watched = watch_stack(); !watched.ok()) return connection.fail(watched);
  std::unique_ptr<LeafRegistration> registration;
  if (auto host = handler.callable_host(); host != nullptr) {
    registration = std::make_unique<LeafRegistration>(connection.boot().path, connection.channel(),
                                                      connection.edge(), std::move(host));
  }
  ControlServer control(connection.channel(), connection.parent_doorbell(),
                        make_hooks(server, leaf, ::pthread_self(), registration.get()));
  if (registration != nullptr) registration->answer_through(&control);
  const ControlThread thread(control, connection.channel(), connection.boot().spawner_pid,
                             registration != nullptr ? registration->jobs() : nullptr);
  connection.ready();
  const Status served = server.serve(handler);
  if (registration != nullptr) registration->answer_through(nullptr);
  if (!served.ok()) return connection.fail(served);
  connection.channel().set_state(ChildState::kClosing, "");
  return 0;
}

}  // namespace

BuildIdBytes channel_build_id() {
  BuildIdBytes bytes{};
  const std::string_view text = build_id();
  ECHELON_CHECK(text.size() == 2 * bytes.size(), text);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::uint8_t value = 0;
    std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, value, 16);
    bytes[i] = std::byte{value};
  }
  return bytes;
}

ChildConnection::ChildConnection(ChildBoot boot, Env& env, ChannelChild channel, Segment doorbell)
    : boot_(std::move(boot)),
      env_(env),
      channel_(std::make_unique<ChannelChild>(std::move(channel))),
      doorbell_segment_(std::move(doorbell)),
      doorbell_(*reinterpret_cast<DoorbellData*>(doorbell_segment_.data())) {
  edge_ = std::make_unique<TreeEdge>(std::move(boot_.edge), boot_.uid, pools_);
  pools_.set_upper(edge_.get());
}

Result<std::unique_ptr<ChildConnection>> ChildConnection::open(ChildBoot boot, Env& env) {
  ECHELON_ASSIGN_OR_RETURN(ChannelChild channel, ChannelChild::open(std::move(boot.channel),
                                                                    boot.uid, channel_build_id()));
  ECHELON_ASSIGN_OR_RETURN(Segment doorbell, open_doorbell(std::move(boot.doorbell)));
  std::unique_ptr<ChildConnection> connection(
      new ChildConnection(std::move(boot), env, std::move(channel), std::move(doorbell)));
  const Status installed = install_last_words(connection->channel());
  const Status held =
      installed.ok()
          ? hold_liveness(*reinterpret_cast<LivenessData*>(connection->channel().liveness().data()))
          : installed;
  if (!held.ok()) {
    connection->fail(held);
    return held;
  }
  connection->phase("starting");
  return connection;
}

ChildConnection::~ChildConnection() {
  forget_last_words();
  static_cast<void>(channel_.release());
}

void ChildConnection::phase(std::string_view text) {
  channel_->set_state(ChildState::kStarting, text);
}

void ChildConnection::ready() {
  channel_->set_state(ChildState::kReady, "");
  tell_parent();
}

int ChildConnection::fail(const Status& why) {
  ErrorInfo info = why.info();
  if (info.path.empty()) info.path = boot_.path;
  if (info.pid == 0) info.pid = ::getpid();
  write_last_error(*channel_, info);
  channel_->set_state(ChildState::kFailed, info.message);
  tell_parent();
  return kExitFailed;
}

void ChildConnection::tell_parent() {
  // Whoever waits for a start, and the keeper, which watches this child from now on.
  doorbell_.wake_caller();
  doorbell_.wake_keeper();
}

int run_leaf(ChildBoot boot, const Leaf& leaf) {
  SystemEnv env;
  auto connection = ChildConnection::open(std::move(boot), env);
  if (!connection.ok()) {
    std::fprintf(stderr, "echelon: %s\n", connection.status().to_string().c_str());
    return kExitFailed;
  }
  ChildConnection& parent = **connection;
  auto handler = leaf.make_handler(parent);
  if (!handler.ok()) return parent.fail(handler.status());
  return serve_leaf(parent, leaf, **handler);
}

}  // namespace echelon
