// SPDX-License-Identifier: Apache-2.0
#include "api/remote_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/throw_status.h"
#include "api/wait_announced.h"
#include "remote/remote_endpoint.h"

namespace echelon::detail {
namespace {

class RemoteBuffer final : public Buffer {
 public:
  RemoteBuffer(const TensorDesc& desc, ChildIndex worker, std::string path,
               std::weak_ptr<Node> node)
      : Buffer(desc.issuer, desc.buffer, desc.home),
        worker_(worker),
        path_(std::move(path)),
        node_(std::move(node)) {}

  Status check_usable() const override {
    ECHELON_RETURN_IF_ERROR(Buffer::check_usable());
    const std::shared_ptr<Node> node = node_.lock();
    const bool there = node != nullptr && !node->closed() && !node->remote(worker_)->down();
    if (there) return {};
    return Status::error(Code::kNotFound, Reason::kStaleHandle,
                         fmt::format("stale handle: {} ended, and its memory with it", path_));
  }
  Result<std::byte*> address(const TensorDesc&, Access) const override {
    return Status::error(
        Code::kPermissionDenied, Reason::kWrongAccess,
        fmt::format("the tensor lies in the memory of {}, which is on another host: read it with "
                    "worker.copy_from(), write it with worker.copy_to(), or copy it in the graph "
                    "with orch.copy()",
                    path_));
  }
  std::string describe() const override { return path_ + ", remote memory"; }
  std::optional<ChildIndex> only_child() const override { return worker_; }
  bool remote() const override { return true; }

 private:
  void give_back() override {
    if (const std::shared_ptr<Node> node = node_.lock()) node->release_buffer_at(worker_, id());
  }

  const ChildIndex worker_;
  const std::string path_;
  const std::weak_ptr<Node> node_;
};

[[noreturn]] void throw_not_remote(const Node& node, ChildIndex worker) {
  throw_bad_argument(
      fmt::format("remote_tensor: child {} of {} is not remote; add_remote_worker() gives the ids "
                  "of those that are",
                  worker.value, node.path()));
}

Status cannot_reach(const Node& node, const TaskAccess& access, std::size_t argument,
                    std::string_view where) {
  const Buffer& buffer = *reinterpret_cast<const Buffer*>(access.pin);
  const TensorDesc& desc = access.desc;
  return Status::error(
      Code::kInvalidArgument, Reason::kBadArgument,
      fmt::format(
          "submit: tensor argument {}, {} of {}, is not in the memory of {}: make it there "
          "with remote_tensor() and fill it with copy_to(), or copy it there in the graph "
          "with orch.copy(), or submit with stage copy (Stage::kCopy, in Python stage=\"copy\")",
          argument, shape_text(desc.dtype, std::span(desc.extent.data(), desc.rank)),
          buffer.describe(), where.empty() ? node.path() + "'s remote Workers" : where));
}

/// The first tensor of this host's; nullopt: none.
std::optional<std::size_t> first_local(std::span<const TaskAccess> accesses) {
  const auto local = std::find_if(accesses.begin(), accesses.end(),
                                  [](const TaskAccess& access) { return !access.only_at; });
  if (local == accesses.end()) return std::nullopt;
  return static_cast<std::size_t>(local - accesses.begin());
}

Result<TensorDesc> ask_for_memory(Node& node, ChildIndex worker, const Shape& shape, DType dtype,
                                  bool zeroed) {
  RemoteEndpoint* endpoint = node.remote(worker);
  const Node::Allocating allocating(node);
  const std::uint64_t token = allocating.token();
  bool asked = false;
  std::optional<Result<TensorDesc>> answer;
  auto answered = [&] {
    if (!asked) {
      const DispatchResult sent = endpoint->request_allocate(token, shape, dtype, zeroed);
      asked = sent == DispatchResult::kSent;
      if (sent == DispatchResult::kDown) answer.emplace(endpoint->down_status());
    }
    if (asked) answer = node.take_allocation(worker, token);
    return answer.has_value();
  };
  wait_announced(node.language(), node.env(),
                 [&](MonotonicNs until) { return node.driver().wait_until(answered, until); });
  return std::move(*answer);
}

}  // namespace

bool is_remote(const Buffer& buffer) {
  return buffer.remote();
}

Tensor allocate_remote(Node& node, ChildIndex worker, const Shape& shape, DType dtype,
                       bool zeroed) {
  const RemoteEndpoint* endpoint = node.remote(worker);
  if (endpoint == nullptr) throw_not_remote(node, worker);
  static_cast<void>(checked_bytes(shape, dtype));
  auto made = ask_for_memory(node, worker, shape, dtype, zeroed);
  // Copies that were kept in case they are wanted again make room.
  if (made.status().reason() == Reason::kExhausted && node.staging().drop_idle() != 0) {
    made = ask_for_memory(node, worker, shape, dtype, zeroed);
  }
  const TensorDesc desc = value_or_throw(std::move(made));
  return TensorAccess::make(
      desc, BufferRef(new RemoteBuffer(desc, worker, endpoint->path(), node.weak_from_this())));
}

Status settle_place(Node& node, TaskKind kind, std::span<const TaskAccess> accesses,
                    std::optional<ChildIndex>& worker) {
  const bool matters = kind == TaskKind::kOrch || kind == TaskKind::kCopy;
  const std::optional<std::size_t> local = first_local(accesses);
  if (!node.has_remotes() || !matters || !local) return {};
  std::optional<ChildIndex> at = worker;
  for (const TaskAccess& access : accesses) {
    if (!at) at = access.only_at;
  }
  const RemoteEndpoint* there = at ? node.remote(*at) : nullptr;
  if (there != nullptr && kind == TaskKind::kCopy) return {};
  if (there != nullptr) return cannot_reach(node, accesses[*local], *local, there->path());
  if (at) return {};
  worker = node.least_loaded_local(kind);
  if (worker) return {};
  if (kind == TaskKind::kOrch) return cannot_reach(node, accesses[*local], *local, "");
  return Status::error(
      Code::kInvalidArgument, Reason::kNoEligibleChild,
      fmt::format(
          "copy: both tensors lie on this host, and {} has no children here that could copy "
          "them; copy their elements with data()",
          node.path()));
}

}  // namespace echelon::detail
