// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/status.h"
#include "remote/transport.h"

namespace echelon {

/// RemoteTransport::connect_lane() over gRPC (proto/echelon/v1/lane.proto).
Result<std::unique_ptr<Lane>> connect_grpc_lane(const LaneConnect& where, LaneOptions options);

/// "/echelon.v1.Lanes/Task".
std::string lane_method(LaneRole role);

}  // namespace echelon
