// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/status.h"
#include "remote/transport.h"

namespace echelon {

/// LaneTransport::connect_lane() over UCX (ucx_wire.h). Of the credentials nothing is used: it is
/// the caller's to have looked whether the network is to be trusted.
Result<std::unique_ptr<Lane>> connect_ucx_lane(const LaneConnect& where, LaneOptions options);

}  // namespace echelon
