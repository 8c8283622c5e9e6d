// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/grpc_transport.h"

#include <utility>

#include "remote/grpc/control_client.h"
#include "remote/grpc/control_server.h"
#include "remote/grpc/lane_connect.h"
#include "remote/grpc/lane_listener.h"
#include "remote/grpc/manifest_codec.h"

namespace echelon {

Result<std::unique_ptr<Lane>> GrpcTransport::connect_lane(const LaneConnect& where,
                                                          LaneOptions options) {
  return connect_grpc_lane(where, std::move(options));
}

Result<std::unique_ptr<LaneListener>> GrpcTransport::listen_lanes(LaneListen where) {
  return listen_grpc_lanes(std::move(where));
}

Result<std::unique_ptr<SessionCall>> GrpcTransport::open_session(const DaemonAddress& daemon,
                                                                 const SessionManifest& manifest,
                                                                 SessionEvents& events) {
  return open_session_call(daemon, manifest, events);
}

Result<std::unique_ptr<DaemonServer>> GrpcTransport::serve_daemon(const DaemonListen& where,
                                                                  DaemonHooks& hooks) {
  return serve_daemon_calls(where, hooks);
}

std::vector<std::byte> GrpcTransport::encode_manifest(const SessionManifest& manifest) {
  return echelon::encode_manifest(manifest);
}

Result<SessionManifest> GrpcTransport::decode_manifest(std::span<const std::byte> bytes) {
  return echelon::decode_manifest(bytes);
}

}  // namespace echelon
