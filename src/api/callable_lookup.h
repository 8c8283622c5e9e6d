// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <echelon/handles.h>

#include "api/callables.h"
#include "api/late_table.h"
#include "base/status.h"

namespace echelon::detail {

/// The callable of this kind and name that is visible at a Worker: of those on the way from it to
/// the root, the nearest one's. Looks at all there are. `path` is for the error. Errors
/// (kBadArgument): kNotFound, with the names that are visible; two of the nearest have this name.
Result<CallableRef> look_up(const CallableTable& inherited, LateTable& late, TaskKind kind,
                            std::string_view name, const std::string& path);

}  // namespace echelon::detail
