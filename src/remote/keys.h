// SPDX-License-Identifier: Apache-2.0
//
// Keys for mutual TLS between hosts: a private authority, and for each host a certificate of it
// (`echelon keys`). EC P-256, SHA-256; the authority lasts ten years, a host's certificate one.
//
//   AUTHORITY/ca.pem   certificate of the authority: no secret
//   AUTHORITY/ca.key   its key, mode 0600: whoever has it can make hosts; no host needs it
//   OUT/ca.pem, host.pem, host.key (0600)   a host's: Credentials::tls_dir
//
// Threads: safe. Blocking: writes files. Nothing that exists is ever overwritten; a call that fails
// leaves no file behind.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace echelon {

/// Makes ca.pem and ca.key in `folder`, which is made where it does not exist (mode 0700). Errors:
/// kBadArgument (there is one already), kSystem.
Status make_authority(const std::string& folder);

/// Errors: kBadArgument where others than its owner can read or change `file`, with the command
/// that mends it. OK where it cannot be looked at: whoever reads it says why.
Status check_secret(const std::string& file);

struct HostKeysWanted {
  std::string authority;  // folder of ca.pem and ca.key
  /// What its parents call it: a DNS name or an IP address.
  std::string host;
  /// More IP addresses that it is reached at.
  std::vector<std::string> addresses;
  std::string out;  // folder; empty: AUTHORITY/HOST
};

/// Returns the folder. Errors: kBadArgument (a name that is none, no authority there, one that has
/// expired or whose key is another's, a file that exists), kSystem.
Result<std::string> issue_host_keys(const HostKeysWanted& wanted);

}  // namespace echelon
