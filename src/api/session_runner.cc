// SPDX-License-Identifier: Apache-2.0
//
// A session's process that is exec'd, not forked: what its daemon tells it on its command line.
#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include <echelon/embedding.h>

#include "api/session_main.h"
#include "api/throw_status.h"
#include "process/child_boot.h"

namespace echelon {
namespace detail {
namespace {

constexpr std::string_view kInsecure = "insecure";
// daemon's address, folder of keys, "insecure" or nothing, what is allowed
constexpr std::size_t kPlaceArguments = 4;

}  // namespace

std::vector<std::string> place_arguments(const SessionPlace& place) {
  std::string allowed;
  for (const AllowedCode code : place.allowed) {
    if (!allowed.empty()) allowed += ',';
    allowed += to_string(code);
  }
  return {place.daemon, place.credentials.tls_dir,
          std::string(place.credentials.insecure ? kInsecure : ""), allowed};
}

Result<SessionPlace> place_from(std::span<const std::string> arguments) {
  if (arguments.size() != kPlaceArguments || arguments[0].empty()) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("this program is started by `echelon daemon`, not by hand: {} "
                                     "arguments, {} were expected",
                                     arguments.size(), kPlaceArguments));
  }
  SessionPlace place;
  place.daemon = arguments[0];
  place.credentials = {arguments[1], arguments[2] == kInsecure};
  ECHELON_ASSIGN_OR_RETURN(place.allowed, parse_allowed(arguments[3]));
  return place;
}

}  // namespace detail

namespace embedding {
namespace {

Result<int> wait_and_run(const std::vector<std::string>& arguments,
                         std::shared_ptr<const Language> language) {
  ECHELON_ASSIGN_OR_RETURN(const detail::SessionPlace place, detail::place_from(arguments));
  // While there is time: it is large.
  ECHELON_RETURN_IF_ERROR(load_transport("grpc").status());
  ECHELON_ASSIGN_OR_RETURN(auto boot, enter_runner_child());
  if (!boot.has_value()) return 0;
  return detail::run_session(std::move(*boot), place, std::move(language));
}

}  // namespace

void run_session(const std::vector<std::string>& arguments,
                 std::shared_ptr<const Language> language) {
  leave_child(detail::value_or_throw(wait_and_run(arguments, std::move(language))));
}

}  // namespace embedding
}  // namespace echelon
