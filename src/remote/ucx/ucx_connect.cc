// SPDX-License-Identifier: Apache-2.0
#include "remote/ucx/ucx_connect.h"

#include <fmt/format.h>

#include <utility>

#include "remote/ucx/ucx_address.h"
#include "remote/ucx/ucx_core.h"

namespace echelon {

Result<std::unique_ptr<Lane>> connect_ucx_lane(const LaneConnect& where, LaneOptions options) {
  ECHELON_RETURN_IF_ERROR(check_ucx_token(where.token));
  ECHELON_ASSIGN_OR_RETURN(const UcxAddress address, resolve_ucx_address(where.address));
  UcxGreeting greeting;
  greeting.peer = fmt::format("the session at {}", where.address);
  ECHELON_ASSIGN_OR_RETURN(const auto core, UcxCore::make(std::move(greeting)));
  core->set_options(std::move(options));
  SystemEnv env;
  const MonotonicNs deadline = env.now_ns() + static_cast<MonotonicNs>(where.timeout.count());
  ECHELON_RETURN_IF_ERROR(
      core->connect(address.get(), address.bytes, where.role, where.token, deadline));
  return make_ucx_lane(core);
}

}  // namespace echelon
