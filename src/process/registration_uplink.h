// SPDX-License-Identifier: Apache-2.0
//
// RegistrationUplink: where the callables that come while a process runs come from, and where its
// answers go: the edge and control rings of a parent on this machine, or the lanes of one on
// another.
//
// Threads: safe. Blocking: never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"
#include "process/control_server.h"
#include "process/payload.h"
#include "process/registration_codec.h"
#include "process/tree_edge.h"
#include "shm/frame.h"

namespace echelon {

class RegistrationUplink {
 public:
  /// The payload that a frame names by `id`; each can be taken once. Errors: kBadFrame (it has not
  /// come, or is of another size).
  virtual Result<std::shared_ptr<const Payload>> take_payload(std::uint64_t id,
                                                              std::uint64_t bytes) = 0;
  /// Answers a registration. False: the parent has to read some answers first.
  virtual bool answer(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) = 0;

 protected:
  ~RegistrationUplink() = default;
};

/// A parent on this machine.
class LocalUplink final : public RegistrationUplink {
 public:
  /// Both must outlive it.
  LocalUplink(TreeEdge& edge, ControlServer& control) : edge_(edge), control_(control) {}
  Result<std::shared_ptr<const Payload>> take_payload(std::uint64_t id,
                                                      std::uint64_t bytes) override;
  bool answer(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) override {
    return control_.answer(kind, token, body);
  }

 private:
  TreeEdge& edge_;
  ControlServer& control_;
};

/// The file that was pushed over an edge. Errors: as RegistrationUplink::take_payload().
Result<std::shared_ptr<const Payload>> take_pushed_payload(TreeEdge& edge, std::uint64_t id,
                                                           std::uint64_t bytes);

/// The frame's request with its payload, from the frame or from the edge. Errors: kBadFrame.
Result<RegisterRequest> with_payload(const RegisterFrame& frame, TreeEdge& edge);
Result<RegisterRequest> with_payload(const RegisterFrame& frame, RegistrationUplink& uplink);

}  // namespace echelon
