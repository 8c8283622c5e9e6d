// SPDX-License-Identifier: Apache-2.0
//
// A daemon's service over gRPC: RemoteTransport::serve_daemon(), and gRPC's standard health service
// beside it, which says whether sessions can be opened.
//
// Threads: hooks are called on gRPC's threads. Blocking: serve_daemon_calls() until it listens;
//   ~DaemonServer until every call has heard that the daemon ends, two seconds at most.
#pragma once

#include <memory>

#include "base/status.h"
#include "remote/transport.h"

namespace echelon {

/// `hooks` must outlive the server. Errors: kBadArgument (address, credentials), kSystem (the
/// address is taken, or not of this machine).
Result<std::unique_ptr<DaemonServer>> serve_daemon_calls(const DaemonListen& where,
                                                         DaemonHooks& hooks);

}  // namespace echelon
