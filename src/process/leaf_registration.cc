// SPDX-License-Identifier: Apache-2.0
#include "process/leaf_registration.h"

#include <fmt/format.h>
#include <unistd.h>

#include <mutex>
#include <utility>

#include "process/registration_uplink.h"

namespace echelon {

using Finish = RegistrarJobs::Finish;

Status check_digest(const RegisterRequest& request) {
  if (request.form == embedding::Form::kPickle) return {};
  const Digest found = sha256(request.payload->bytes());
  if (found == request.digest) return {};
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       fmt::format("its payload has the SHA-256 {}, and {} was announced",
                                   to_hex(found), to_hex(request.digest)));
}

/// One process, its path and the frame's own included.
constexpr std::size_t kOwnAnswerBytesMax = 2 * kAnswerMessageBytesMax + kAnswerTracebackBytesMax;

struct LeafRegistration::State {
  State(std::string given, ChannelChild& of, TreeEdge& over, std::shared_ptr<CallableHost> with)
      : path(std::move(given)), channel(of), edge(over), host(std::move(with)) {}

  const std::string path;
  ChannelChild& channel;
  TreeEdge& edge;
  const std::shared_ptr<CallableHost> host;
  const std::shared_ptr<RegistrarJobs> jobs = std::make_shared<RegistrarJobs>();
  std::mutex mutex;
  ControlServer* server = nullptr;  // nullptr: over

  bool answer(FrameKind kind, std::uint64_t token, const Status& status) {
    SubtreeAnswer answer;
    ChildAnswer own{AnswerOutcome::kReady, ::getpid(), path, "", ""};
    if (!status.ok()) {
      own.outcome = AnswerOutcome::kRefused;
      own.message = status.info().message;
      own.traceback = status.info().traceback;
    }
    answer.add(std::move(own));
    const std::lock_guard lock(mutex);
    return server == nullptr ||
           server->answer(kind, token, encode_answer(answer, kOwnAnswerBytesMax));
  }
};

LeafRegistration::LeafRegistration(std::string path, ChannelChild& channel, TreeEdge& edge,
                                   std::shared_ptr<CallableHost> host)
    : state_(std::make_shared<State>(std::move(path), channel, edge, std::move(host))) {}

LeafRegistration::~LeafRegistration() {
  state_->jobs->stop();
}

const std::shared_ptr<RegistrarJobs>& LeafRegistration::jobs() const {
  return state_->jobs;
}

void LeafRegistration::answer_through(ControlServer* server) {
  const std::lock_guard lock(state_->mutex);
  state_->server = server;
}

void LeafRegistration::on_register(std::uint64_t token, const RegisterFrame& frame) {
  // The frame's bytes are the ring's: they are copied here.
  auto request = with_payload(frame, state_->edge);
  if (request.ok()) state_->channel.set_phase(doing_text(*request));
  state_->jobs->add([state = state_, token, request = std::move(request)]() -> Finish {
    Status status = request.status();
    if (status.ok()) status = check_digest(*request);
    if (status.ok()) status = state->host->install(*request);
    return [state, token, status] {
      state->channel.set_phase("");
      return state->answer(FrameKind::kRegisterReply, token, status);
    };
  });
}

void LeafRegistration::on_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial) {
  state_->jobs->add([state = state_, token, slot, serial]() -> Finish {
    // Mostly at once; else when the task that runs it has ended.
    state->host->remove(slot, serial, [state, token] {
      if (state->answer(FrameKind::kUnregisterReply, token, {})) return;
      state->jobs->post([state, token]() -> Finish {
        return [state, token] { return state->answer(FrameKind::kUnregisterReply, token, {}); };
      });
    });
    return [] { return true; };
  });
}

}  // namespace echelon
