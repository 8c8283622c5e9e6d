// SPDX-License-Identifier: Apache-2.0
//
// What libechelon_ucx.so exports (remote/transport.h).
#include <memory>

#include "base/build_id.h"
#include "remote/ucx/ucx_connect.h"
#include "remote/ucx/ucx_context.h"
#include "remote/ucx/ucx_listener.h"

namespace {

class UcxTransport final : public echelon::LaneTransport {
 public:
  std::string_view name() const override { return "ucx"; }
  echelon::Result<std::unique_ptr<echelon::Lane>> connect_lane(
      const echelon::LaneConnect& where, echelon::LaneOptions options) override {
    return echelon::connect_ucx_lane(where, std::move(options));
  }
  echelon::Result<std::unique_ptr<echelon::LaneListener>> listen_lanes(
      echelon::LaneListen where) override {
    return echelon::listen_ucx_lanes(std::move(where));
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) echelon::LaneTransport* echelon_lane_transport(
    const char* build) {
  if (echelon::build_id() != build) return nullptr;
  // Never destroyed: lanes close as long as the process lives.
  static auto* const transport = std::make_unique<UcxTransport>().release();
  return transport;
}
