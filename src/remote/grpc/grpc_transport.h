// SPDX-License-Identifier: Apache-2.0
//
// The transport "grpc": lanes and the control service over gRPC. Alone in its shared object, with
// gRPC and protobuf in it, so that a process that holds others of them is not in its way.
#pragma once

#include "remote/transport.h"

namespace echelon {

class GrpcTransport final : public RemoteTransport {
 public:
  std::string_view name() const override { return "grpc"; }
  Result<std::unique_ptr<Lane>> connect_lane(const LaneConnect& where,
                                             LaneOptions options) override;
  Result<std::unique_ptr<LaneListener>> listen_lanes(LaneListen where) override;
  Result<std::unique_ptr<SessionCall>> open_session(const DaemonAddress& daemon,
                                                    const SessionManifest& manifest,
                                                    SessionEvents& events) override;
  Result<std::unique_ptr<DaemonServer>> serve_daemon(const DaemonListen& where,
                                                     DaemonHooks& hooks) override;
  std::vector<std::byte> encode_manifest(const SessionManifest& manifest) override;
  Result<SessionManifest> decode_manifest(std::span<const std::byte> bytes) override;
};

}  // namespace echelon
