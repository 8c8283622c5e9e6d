// SPDX-License-Identifier: Apache-2.0
//
// UcxLink: one UCX connection - a worker with one endpoint, active messages over it, their requests
// and the memory that these use until they complete. What the messages mean is ucx_core.h's.
//
// Threads: one at a time, callbacks included. Callbacks come within progress() and send(); they may
//   send(), and nothing else of it. Blocking: the destructor, a second at most.
#pragma once

#include <sys/socket.h>
#include <ucp/api/ucp.h>

#include <cstddef>
#include <list>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "remote/ucx/ucx_buffer.h"
#include "remote/ucx/ucx_wire.h"

namespace echelon {

class UcxLinkEvents {
 public:
  /// The views are valid during the call.
  virtual void on_active(UcxId id, std::span<const std::byte> header,
                         std::span<const std::byte> data) = 0;
  /// A MESSAGE of so many bytes waits to be fetched. Where to; nullptr: it is dropped. Its number
  /// is told to on_fetched().
  virtual std::byte* on_offered(std::span<const std::byte> header, std::size_t bytes,
                                std::uint64_t& number) = 0;
  virtual void on_fetched(std::uint64_t number, bool ok) = 0;
  /// Once. Nothing comes or goes any more.
  virtual void on_broken(ucs_status_t why) = 0;

 protected:
  ~UcxLinkEvents() = default;
};

class UcxLink {
 public:
  /// `events` must outlive it. Errors: kSystem.
  static Result<std::unique_ptr<UcxLink>> make(UcxLinkEvents& events);
  ~UcxLink();
  UcxLink(const UcxLink&) = delete;
  UcxLink& operator=(const UcxLink&) = delete;

  /// Once, one of the two. Begins; what fails later is on_broken()'s.
  Status connect(const sockaddr* address, socklen_t bytes);
  Status accept(ucp_conn_request_h request);

  /// Joins the segments. False: the connection is broken.
  bool send(UcxId id, const UcxHeader& header, LaneSegments segments, std::size_t bytes);
  bool send(UcxId id, const UcxHeader& header, std::span<const std::byte> data = {}) {
    return send(id, header, {&data, 1}, data.size());
  }
  /// Nothing that was sent is under way any more.
  bool sent_all() const { return sending_.empty(); }
  /// Nor is anything fetched.
  bool idle() const { return sending_.empty() && fetching_.empty(); }

  /// Does what there is to do; false: there was nothing.
  bool progress() { return ucp_worker_progress(worker_) != 0; }
  /// True: from here on event_fd() becomes readable when there is something to do. False: there is
  /// already.
  bool arm() { return ucp_worker_arm(worker_) != UCS_ERR_BUSY; }
  int event_fd() const { return event_fd_; }
  /// Ends the connection without a word. Where idle() is false and the peer lives, UCX 1.13 may
  /// abort: the acknowledgement of a fetch that it has forgotten is none of its own to it.
  void cut();

 private:
  struct Sending {
    UcxLink* link = nullptr;
    UcxHeader header;
    UcxBuffer data;
    std::list<Sending>::iterator place;
  };
  struct Fetching {
    UcxLink* link = nullptr;
    std::uint64_t number = 0;
    std::list<Fetching>::iterator place;
  };
  struct Handler {
    UcxLink* link = nullptr;
    UcxId id = UcxId::kHello;
  };

  explicit UcxLink(UcxLinkEvents& events) : events_(events) {}
  Status open();
  Status make_endpoint(ucp_ep_params_t& params);
  void break_down(ucs_status_t why);
  ucs_status_t fetch(std::span<const std::byte> header, void* offer, std::size_t bytes);

  static ucs_status_t on_active(void* handler, const void* header, std::size_t header_bytes,
                                void* data, std::size_t bytes, const ucp_am_recv_param_t* param);
  static void on_sent(void* request, ucs_status_t status, void* sending);
  static void on_fetched(void* request, ucs_status_t status, std::size_t bytes, void* fetching);
  static void on_endpoint_error(void* link, ucp_ep_h endpoint, ucs_status_t status);

  UcxLinkEvents& events_;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h endpoint_ = nullptr;
  void* cutting_ = nullptr;  // request of the endpoint's end
  int event_fd_ = -1;
  bool broken_ = false;
  std::array<Handler, kUcxIds.size()> handlers_;
  UcxBuffers buffers_;
  std::list<Sending> sending_;
  std::list<Sending> spare_;  // one at most: for the next to be sent
  std::list<Fetching> fetching_;
};

}  // namespace echelon
