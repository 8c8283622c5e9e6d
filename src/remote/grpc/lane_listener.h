// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/status.h"
#include "remote/transport.h"

namespace echelon {

/// RemoteTransport::listen_lanes() over gRPC (proto/echelon/v1/lane.proto).
Result<std::unique_ptr<LaneListener>> listen_grpc_lanes(LaneListen where);

}  // namespace echelon
