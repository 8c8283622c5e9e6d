// SPDX-License-Identifier: Apache-2.0
#include "process/registration_uplink.h"

#include <utility>

namespace echelon {
namespace {

template <class TakePayload>
Result<RegisterRequest> with_payload_of(const RegisterFrame& frame, TakePayload take_payload) {
  RegisterRequest request = frame.request;
  if (frame.push == 0) {
    request.payload = Payload::small(frame.inline_bytes);
  } else {
    ECHELON_ASSIGN_OR_RETURN(request.payload, take_payload(frame.push, frame.payload_bytes));
  }
  return request;
}

}  // namespace

Result<std::shared_ptr<const Payload>> take_pushed_payload(TreeEdge& edge, std::uint64_t id,
                                                           std::uint64_t bytes) {
  UniqueFd file = edge.take_payload(id);
  if (file) return Payload::open(std::move(file), bytes);
  ECHELON_RETURN_IF_ERROR(edge.receive_error());
  return Status::error(Code::kDataLoss, Reason::kBadFrame, "its payload has not come");
}

Result<std::shared_ptr<const Payload>> LocalUplink::take_payload(std::uint64_t id,
                                                                 std::uint64_t bytes) {
  return take_pushed_payload(edge_, id, bytes);
}

Result<RegisterRequest> with_payload(const RegisterFrame& frame, TreeEdge& edge) {
  return with_payload_of(frame, [&](std::uint64_t id, std::uint64_t bytes) {
    return take_pushed_payload(edge, id, bytes);
  });
}

Result<RegisterRequest> with_payload(const RegisterFrame& frame, RegistrationUplink& uplink) {
  return with_payload_of(
      frame, [&](std::uint64_t id, std::uint64_t bytes) { return uplink.take_payload(id, bytes); });
}

}  // namespace echelon
