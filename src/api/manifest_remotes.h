// SPDX-License-Identifier: Apache-2.0
//
// Workers on further hosts, below a session: from its parent's spec into the manifest, and out of
// it in the session, which starts them as a program would.
#pragma once

#include <memory>
#include <vector>

#include <echelon/remote.h>

#include "base/status.h"
#include "remote/manifest.h"
#include "remote/transport.h"

namespace echelon::detail {

/// Of "auto" what is always there.
std::string lane_of(const RemoteWorkerSpec& spec);

std::vector<ManifestChip> manifest_chips(const RemoteWorkerSpec& spec);
/// spec.remote_workers.
std::vector<ManifestRemote> manifest_remotes(const RemoteWorkerSpec& spec);

/// In the session; `own` is what its daemon shows and checks. Errors: kBadArgument, where the way
/// there would be unprotected and nobody has said that it may.
Result<std::shared_ptr<const RemoteWorkerSpec>> remote_spec(const ManifestRemote& remote,
                                                            const Credentials& own);

}  // namespace echelon::detail
