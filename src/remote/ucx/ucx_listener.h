// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/status.h"
#include "remote/transport.h"

namespace echelon {

/// LaneTransport::listen_lanes() over UCX (ucx_wire.h); as for connect_ucx_lane().
Result<std::unique_ptr<LaneListener>> listen_ucx_lanes(LaneListen where);

}  // namespace echelon
