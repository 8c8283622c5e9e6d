// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <digits/trainer.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace echelon::cli {

/// Hosts with daemons, a line each: ADDRESS [TLS-DIR]; what follows a # is not read. A TLS-DIR that
/// is not absolute starts at `folder`. Errors (kBadArgument), with the line: no address, too many
/// words, no host at all.
Result<std::vector<digits::RemoteHost>> parse_hosts(std::string_view text,
                                                    const std::string& folder);

/// The same of a file, whose folder it is. Errors: kBadArgument.
Result<std::vector<digits::RemoteHost>> read_hosts_file(const std::string& path);

}  // namespace echelon::cli
