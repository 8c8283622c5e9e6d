// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <conformance/endpoint_conformance.h>
#include "remote/testing/session_rig.h"

namespace echelon {
namespace {

// A session in this process, over sim lanes.
class RemoteRig final : public EndpointRig {
 public:
  explicit RemoteRig(EndpointEvents& events) : rig_(options(events)) {}
  Endpoint& endpoint() override { return rig_.endpoint(); }
  std::uint32_t window() const override { return kRemoteWindow; }
  void pump() override { rig_.pump(); }
  void kill() override { rig_.kill(); }

 private:
  static constexpr std::uint32_t kRemoteWindow = 16;
  static SessionRig::Options options(EndpointEvents& events) {
    SessionRig::Options options;
    options.endpoint.path = "root/child0";
    options.endpoint.window = kRemoteWindow;
    // What was sent counts as taken: with one there, what waits can be recalled.
    options.endpoint.sent_max = 1;
    options.also = &events;
    return options;
  }
  SessionRig rig_;
};

}  // namespace

RigKind remote_rig() {
  return {"Remote", [](EndpointEvents& events) { return std::make_unique<RemoteRig>(events); }};
}

}  // namespace echelon
