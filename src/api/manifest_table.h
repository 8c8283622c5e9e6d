// SPDX-License-Identifier: Apache-2.0
//
// The callables of a Worker on their way to a session on another host, and made again there: same
// slots, same owners, so that handles mean the same on both sides (docs/design/0013-remote.md).
//
//   form          parent: the manifest has          session: the slot holds
//   kName         the function's name               the function of this name, in a library or here
//   kImage        the image with its kernel's name  the image
//   kImportPath,  what its Pack made                what the session's language makes of it
//   kPickle
//   kInherited    why it cannot travel, if known    a function that throws this
//
// What a session cannot make again of itself (a name that nobody has there, a module that is not
// there) is such a function, too: other Workers of the tree may be able to run it. What is damaged
// - a digest, a library that does not load, an image that is none - ends the session's start.
//
// Fork: made in the session's process before it forks its children.
#pragma once

#include <memory>

#include <echelon/embedding.h>

#include "api/callables.h"
#include "base/status.h"
#include "remote/manifest.h"

namespace echelon::detail {

/// Adds all that is visible in `table`. Calls the callables' Pack: once for all children of a
/// Worker is enough. Errors: kTooLarge, where it is more than a manifest may hold; kSystem.
Status fill_manifest(const CallableTable& table, SessionManifest& manifest);

/// For a session without a language (Runtime::kNative): what only a language can make keeps its
/// slot, and says so when it is called there.
void keep_from_native(SessionManifest& manifest);

/// Loads the libraries and makes the callables. The table keeps all it refers to. `language` may be
/// nullptr; it must outlive the table. Errors: kBadFrame (damaged or contradictory), kImage.
Result<std::shared_ptr<const CallableTable>> make_table(const SessionManifest& manifest,
                                                        const embedding::Language* language);

}  // namespace echelon::detail
