// SPDX-License-Identifier: Apache-2.0
#include "remote/ucx/ucx_link.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "remote/ucx/ucx_context.h"

namespace echelon {
namespace {

/// Above it a message is fetched by the receiver, straight to where it is to lie; below, it goes at
/// once, and is copied once more there.
constexpr std::size_t kFetchedAboveBytes = std::size_t{16} << 10;
constexpr std::chrono::seconds kCutPatience{1};

std::span<const std::byte> bytes_at(const void* data, std::size_t bytes) {
  return {static_cast<const std::byte*>(data), bytes};
}

void join(LaneSegments segments, std::byte* at) {
  for (const auto segment : segments) {
    if (segment.empty()) continue;
    std::memcpy(at, segment.data(), segment.size());
    at += segment.size();
  }
}

}  // namespace

Result<std::unique_ptr<UcxLink>> UcxLink::make(UcxLinkEvents& events) {
  std::unique_ptr<UcxLink> link(new UcxLink(events));
  ECHELON_RETURN_IF_ERROR(link->open());
  return link;
}

Status UcxLink::open() {
  ECHELON_ASSIGN_OR_RETURN(const ucp_context_h context, ucx_context());
  const SignalsBlocked blocked;
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  ucs_status_t status = ucp_worker_create(context, &params, &worker_);
  if (status != UCS_OK) return ucx_error(status, "making a UCX worker");
  for (std::size_t i = 0; i < kUcxIds.size(); ++i) {
    handlers_[i] = {this, kUcxIds[i]};
    ucp_am_handler_param_t handler{};
    handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                         UCP_AM_HANDLER_PARAM_FIELD_ARG;
    handler.id = static_cast<unsigned>(kUcxIds[i]);
    handler.cb = &UcxLink::on_active;
    handler.arg = &handlers_[i];
    status = ucp_worker_set_am_recv_handler(worker_, &handler);
    if (status != UCS_OK) return ucx_error(status, "taking active messages");
  }
  status = ucp_worker_get_efd(worker_, &event_fd_);
  return status == UCS_OK ? Status() : ucx_error(status, "sleeping until UCX has something");
}

UcxLink::~UcxLink() {
  if (worker_ == nullptr) return;
  cut();
  // What UCX still has of ours it gives back first.
  const auto until = std::chrono::steady_clock::now() + kCutPatience;
  const auto waiting = [this] {
    return !sending_.empty() || !fetching_.empty() ||
           (cutting_ != nullptr && ucp_request_check_status(cutting_) == UCS_INPROGRESS);
  };
  while (waiting() && std::chrono::steady_clock::now() < until) progress();
  if (cutting_ != nullptr) ucp_request_free(cutting_);
  ucp_worker_destroy(worker_);
}

Status UcxLink::connect(const sockaddr* address, socklen_t bytes) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr.addr = address;
  params.sockaddr.addrlen = bytes;
  return make_endpoint(params);
}

Status UcxLink::accept(ucp_conn_request_h request) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
  params.conn_request = request;
  return make_endpoint(params);
}

Status UcxLink::make_endpoint(ucp_ep_params_t& params) {
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = &UcxLink::on_endpoint_error;
  params.err_handler.arg = this;
  const ucs_status_t status = ucp_ep_create(worker_, &params, &endpoint_);
  if (status == UCS_OK) return {};
  endpoint_ = nullptr;
  broken_ = true;
  return ucx_error(status, "connecting");
}

// --- out
// ------------------------------------------------------------------------------------------

bool UcxLink::send(UcxId id, const UcxHeader& header, LaneSegments segments, std::size_t bytes) {
  if (broken_ || endpoint_ == nullptr) return false;
  if (spare_.empty()) spare_.emplace_back();
  Sending& sending = spare_.front();
  sending.header = header;
  if (sending.data.capacity < bytes) {
    buffers_.give_back(std::exchange(sending.data, {}));
    sending.data = buffers_.take(bytes);
  }
  join(segments, sending.data.bytes.get());
  sending.link = this;
  sending_.splice(sending_.end(), spare_, spare_.begin());
  sending.place = std::prev(sending_.end());

  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.cb.send = &UcxLink::on_sent;
  param.user_data = &sending;
  param.flags = bytes > kFetchedAboveBytes ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER;
  const ucs_status_ptr_t request =
      ucp_am_send_nbx(endpoint_, static_cast<unsigned>(id), sending.header.data(),
                      sending.header.size(), sending.data.bytes.get(), bytes, &param);
  if (UCS_PTR_IS_PTR(request)) return true;
  // Done: what was small stays for the next.
  spare_.splice(spare_.end(), sending_, sending.place);
  if (request == nullptr) return true;
  break_down(UCS_PTR_STATUS(request));
  return false;
}

void UcxLink::on_sent(void* request, ucs_status_t status, void* sending) {
  auto& sent = *static_cast<Sending*>(sending);
  UcxLink& link = *sent.link;
  ucp_request_free(request);
  link.buffers_.give_back(std::move(sent.data));
  link.sending_.erase(sent.place);
  if (status != UCS_OK) link.break_down(status);
}

// --- in
// -------------------------------------------------------------------------------------------

ucs_status_t UcxLink::on_active(void* handler, const void* header, std::size_t header_bytes,
                                void* data, std::size_t bytes, const ucp_am_recv_param_t* param) {
  const auto& [link, id] = *static_cast<const Handler*>(handler);
  const auto head = bytes_at(header, header_bytes);
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) {
    link->events_.on_active(id, head, bytes_at(data, bytes));
    return UCS_OK;
  }
  // Nothing but messages is large.
  return id == UcxId::kMessage ? link->fetch(head, data, bytes) : UCS_OK;
}

ucs_status_t UcxLink::fetch(std::span<const std::byte> header, void* offer, std::size_t bytes) {
  std::uint64_t number = 0;
  std::byte* const into = events_.on_offered(header, bytes, number);
  if (into == nullptr) return UCS_OK;
  Fetching& fetching = fetching_.emplace_back();
  fetching.link = this;
  fetching.number = number;
  fetching.place = std::prev(fetching_.end());
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = &UcxLink::on_fetched;
  param.user_data = &fetching;
  const ucs_status_ptr_t request = ucp_am_recv_data_nbx(worker_, offer, into, bytes, &param);
  if (UCS_PTR_IS_PTR(request)) return UCS_INPROGRESS;
  fetching_.erase(fetching.place);
  events_.on_fetched(number, request == nullptr);
  return UCS_INPROGRESS;
}

void UcxLink::on_fetched(void* request, ucs_status_t status, std::size_t /*bytes*/,
                         void* fetching) {
  const auto& fetched = *static_cast<const Fetching*>(fetching);
  UcxLink& link = *fetched.link;
  const std::uint64_t number = fetched.number;
  ucp_request_free(request);
  link.fetching_.erase(fetched.place);
  link.events_.on_fetched(number, status == UCS_OK);
  if (status != UCS_OK) link.break_down(status);
}

// --- the end
// ---------------------------------------------------------------------------------------

void UcxLink::on_endpoint_error(void* link, ucp_ep_h /*endpoint*/, ucs_status_t status) {
  static_cast<UcxLink*>(link)->break_down(status);
}

void UcxLink::break_down(ucs_status_t why) {
  if (std::exchange(broken_, true)) return;
  events_.on_broken(why);
}

void UcxLink::cut() {
  broken_ = true;
  if (endpoint_ == nullptr) return;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  const ucs_status_ptr_t request = ucp_ep_close_nbx(std::exchange(endpoint_, nullptr), &param);
  if (UCS_PTR_IS_PTR(request)) cutting_ = request;
}

}  // namespace echelon
