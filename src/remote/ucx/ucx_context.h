// SPDX-License-Identifier: Apache-2.0
//
// The process's UCX: one context, set up so that it leaves the process it is in alone - no signal
// handlers, no patched malloc or mmap, nothing on standard output, no memory that has a name.
// UCX_... in the environment goes before what is chosen here.
//
// Threads: any. Fork: nothing of UCX may be used in a forked child of a process that has used it;
//   the first call comes after a Worker has forked its children.
#pragma once

#include <signal.h>
#include <ucp/api/ucp.h>

#include <string>
#include <string_view>

#include "base/status.h"

namespace echelon {

/// Made by the first call. Errors: kSystem, with UCX's words.
Result<ucp_context_h> ucx_context();

/// kSystem: "CALL: Destination is unreachable".
Status ucx_error(ucs_status_t status, std::string_view call);

/// Blocks all signals while it lives, so that threads which UCX starts get none of the program's.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace echelon
