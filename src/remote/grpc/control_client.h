// SPDX-License-Identifier: Apache-2.0
//
// A session as its parent holds it: RemoteTransport::open_session() over gRPC.
//
// Threads: events come on gRPC's threads, one at a time. Blocking: ~SessionCall alone, until the
//   call has ended; not to be called from within an event.
#pragma once

#include <memory>

#include "base/status.h"
#include "remote/transport.h"

namespace echelon {

/// Returns at once; a daemon that cannot be reached is on_ended()'s. Errors: kBadArgument (address,
/// credentials), kTooLarge (manifest).
Result<std::unique_ptr<SessionCall>> open_session_call(const DaemonAddress& daemon,
                                                       const SessionManifest& manifest,
                                                       SessionEvents& events);

}  // namespace echelon
