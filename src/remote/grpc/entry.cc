// SPDX-License-Identifier: Apache-2.0
//
// What libechelon_grpc.so exports (remote/transport.h).
#include <grpc/support/log.h>

#include <cstdlib>
#include <memory>

#include "base/build_id.h"
#include "remote/grpc/grpc_transport.h"

namespace {

/// What fails is told to callers, as errors; gRPC's own lines are for those who ask for them.
void log_nothing(gpr_log_func_args*) {}

}  // namespace

extern "C" __attribute__((visibility("default"))) echelon::RemoteTransport*
echelon_remote_transport(const char* build) {
  if (echelon::build_id() != build) return nullptr;
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function(&log_nothing);
  // Never destroyed: its threads live as long as the process.
  static auto* const transport = std::make_unique<echelon::GrpcTransport>().release();
  return transport;
}
