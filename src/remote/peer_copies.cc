// SPDX-License-Identifier: Apache-2.0
#include "remote/peer_copies.h"

#include <fmt/format.h>

#include <span>
#include <string_view>

namespace echelon {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

DataClient::Ordered PeerCopies::guarded(std::function<void(const Status&)> then) {
  return [alive = std::weak_ptr<int>(alive_), then = std::move(then)](const Status& status) {
    if (!alive.expired()) then(status);
  };
}

void PeerCopies::start(TaskId task, const TensorDesc& from, const TensorDesc& to,
                       const PeerTarget& target) {
  Link& link = links_[target.pool];
  link.target = target;
  Copy& copy = copies_[task];
  copy = Copy{from, to, target.pool, Step::kWaiting, 0, 0, {}};
  if (link.state == LinkState::kOpen) return grant(task, copy, link);
  if (link.state == LinkState::kIdle) expect(link);
}

bool PeerCopies::try_recall(TaskId task) {
  const auto found = copies_.find(task);
  if (found == copies_.end()) return false;
  const Step step = found->second.step;
  if (step != Step::kWaiting && step != Step::kGranting) return false;
  if (step == Step::kGranting) revoke_grant(found->second, [](const Status&) {});
  copies_.erase(found);
  return true;
}

void PeerCopies::stop(TaskId task, const Status& why) {
  const auto found = copies_.find(task);
  if (found == copies_.end() || !found->second.why.ok()) return;
  Copy& copy = found->second;
  if (copy.step == Step::kWaiting) return end(task, why);
  if (copy.step == Step::kGranting) return revoke(task, copy, why);
  // Its next piece is refused, which ends it at the sender.
  copy.why = why;
  revoke_grant(copy, [](const Status&) {});
}

void PeerCopies::take_ended(std::vector<std::pair<TaskId, Status>>& into) {
  into.insert(into.end(), ended_.begin(), ended_.end());
  ended_.clear();
}

void PeerCopies::close() {
  alive_ = std::make_shared<int>();
  for (const auto& [task, copy] : copies_) {
    if (copy.grant != 0) revoke_grant(copy, [](const Status&) {});
  }
  copies_.clear();
  links_.clear();
  ended_.clear();
}

void PeerCopies::end(TaskId task, Status status) {
  copies_.erase(task);
  ended_.emplace_back(task, std::move(status));
  wake_();
}

std::vector<TaskId> PeerCopies::waiting_for(Uid pool) const {
  std::vector<TaskId> waiting;
  for (const auto& [task, copy] : copies_) {
    if (copy.to_pool == pool && copy.step == Step::kWaiting) waiting.push_back(task);
  }
  return waiting;
}

// --- the link
// ------------------------------------------------------------------------------------

void PeerCopies::expect(Link& link) {
  link.state = LinkState::kExpecting;
  link.id = env_.random_nonzero();
  link.token = fmt::format("{:016x}{:016x}", env_.random_nonzero(), env_.random_nonzero());
  DataMessage message;
  message.kind = DataKind::kExpect;
  message.offset = link.id;
  const Uid to = link.target.pool;
  link.target.data->order(message, bytes_of(link.token), guarded([this, to](const Status& status) {
                            Link& expected = links_.at(to);
                            if (!status.ok()) return link_failed(expected, status);
                            connect(expected);
                          }));
}

void PeerCopies::connect(Link& link) {
  link.state = LinkState::kConnecting;
  DataMessage message;
  message.kind = DataKind::kConnect;
  message.offset = link.id;
  message.length = link.target.address.size();
  const Uid to = link.target.pool;
  source_.order(message, bytes_of(link.target.address + link.token),
                guarded([this, to](const Status& status) {
                  Link& connected = links_.at(to);
                  connected.token.clear();
                  if (!status.ok()) return link_failed(connected, status);
                  connected.state = LinkState::kOpen;
                  for (const TaskId task : waiting_for(to)) {
                    grant(task, copies_.at(task), connected);
                  }
                }));
}

Status PeerCopies::unreachable(const Link& link, const Status& why) const {
  ErrorInfo info = why.info();
  if (info.code == Code::kOk) info.code = Code::kUnavailable;
  info.path = path_;
  info.message = fmt::format(
      "{} could not reach {} at {}: {}. Copies between the two go from host to host; with "
      "direct_copies = false in the RemoteWorkerSpec of one of them they go by way of this one",
      path_, link.target.path, link.target.address, info.message);
  return Status(std::move(info));
}

void PeerCopies::link_failed(Link& link, const Status& why) {
  link.state = LinkState::kIdle;
  const Status told = unreachable(link, why);
  for (const TaskId task : waiting_for(link.target.pool)) end(task, told);
}

// --- a copy
// --------------------------------------------------------------------------------------

void PeerCopies::grant(TaskId task, Copy& copy, Link& link) {
  copy.step = Step::kGranting;
  copy.link = link.id;
  copy.grant = env_.random_nonzero();
  DataMessage message;
  message.kind = DataKind::kGrant;
  message.offset = copy.link;
  message.length = copy.grant;
  message.tensor = copy.to;
  link.target.data->order(message, {}, guarded([this, task, grant = copy.grant](const Status& s) {
                            const auto found = copies_.find(task);
                            if (found == copies_.end() || found->second.grant != grant) return;
                            if (!s.ok()) return revoke(task, found->second, s);
                            push(task);
                          }));
}

void PeerCopies::push(TaskId task) {
  Copy& copy = copies_.at(task);
  copy.step = Step::kPushing;
  DataMessage message;
  message.kind = DataKind::kPush;
  message.offset = copy.link;
  message.tensor = copy.from;
  std::vector<std::byte> to(copy.to.wire_bytes());
  encode(copy.to, Tag::kOutput, to);
  source_.order(message, std::move(to),
                guarded([this, task](const Status& status) { pushed(task, status); }));
}

void PeerCopies::pushed(TaskId task, const Status& status) {
  const auto found = copies_.find(task);
  if (found == copies_.end()) return;
  Copy& copy = found->second;
  if (status.ok()) {
    revoke_grant(copy, [](const Status&) {});
    return end(task, Status());
  }
  Link& link = links_.at(copy.to_pool);
  if (status.reason() == Reason::kWrongState) link.state = LinkState::kIdle;
  ErrorInfo info = status.info();
  info.message = fmt::format("copying to {}: {}", link.target.path, info.message);
  revoke(task, copy, copy.why.ok() ? Status(std::move(info)) : copy.why);
}

void PeerCopies::revoke_grant(const Copy& copy, DataClient::Ordered done) {
  DataMessage message;
  message.kind = DataKind::kRevoke;
  message.offset = copy.link;
  message.length = copy.grant;
  links_.at(copy.to_pool).target.data->order(message, {}, std::move(done));
}

void PeerCopies::revoke(TaskId task, Copy& copy, Status why) {
  copy.step = Step::kRevoking;
  copy.why = std::move(why);
  // Whatever the answer: a session that is down writes nothing either.
  revoke_grant(copy, guarded([this, task](const Status&) {
                 const auto found = copies_.find(task);
                 if (found != copies_.end()) end(task, found->second.why);
               }));
}

}  // namespace echelon
