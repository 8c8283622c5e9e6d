// SPDX-License-Identifier: Apache-2.0
#include "api/node_memory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "api/node.h"
#include "api/throw_status.h"
#include "remote/remote_endpoint.h"

namespace echelon::detail {
namespace {

class HostBuffer final : public Buffer {
 public:
  HostBuffer(std::shared_ptr<OwnPool> pool, BufferId id, std::uint64_t bytes)
      : Buffer(pool->pool->issuer(), id, pool->pool->issuer()),
        pool_(std::move(pool)),
        bytes_(bytes) {}

  Result<std::byte*> address(const TensorDesc& desc, Access want) const override {
    if (in_forked_copy()) {
      return Status::error(
          Code::kFailedPrecondition, Reason::kForeignHandle,
          fmt::format("the tensor's memory is {}'s and is not copied into other processes; "
                      "pass the tensor as an argument",
                      pool_->owner));
    }
    return pool_->pool->open(desc, want);
  }
  std::string describe() const override { return pool_->owner + ", host memory"; }

 private:
  void leave_to_pins() override {
    pool_->leaving_bytes.fetch_add(bytes_, std::memory_order_relaxed);
  }
  void give_back() override {
    (void)pool_->pool->free(id()).ok();
    pool_->leaving_bytes.fetch_sub(bytes_, std::memory_order_relaxed);
  }

  const std::shared_ptr<OwnPool> pool_;
  const std::uint64_t bytes_;
};

class ChipBuffer final : public Buffer {
 public:
  ChipBuffer(std::shared_ptr<OwnPool> pool, BufferId id, Uid home, ChildIndex chip,
             std::string path, std::weak_ptr<Node> node)
      : Buffer(pool->pool->issuer(), id, home),
        pool_(std::move(pool)),
        chip_(chip),
        path_(std::move(path)),
        node_(std::move(node)) {}

  Status check_usable() const override {
    ECHELON_RETURN_IF_ERROR(Buffer::check_usable());
    const std::shared_ptr<Node> node = node_.lock();
    if (node != nullptr && !node->closed()) return {};
    return Status::error(Code::kNotFound, Reason::kStaleHandle,
                         fmt::format("stale handle: {} ended, and its memory with it", path_));
  }
  Result<std::byte*> address(const TensorDesc&, Access) const override {
    return Status::error(
        Code::kPermissionDenied, Reason::kWrongAccess,
        fmt::format("the tensor lies in the memory of {}, which host code does not reach: "
                    "copy it with orch.copy(host_tensor, chip_tensor)",
                    path_));
  }
  std::string describe() const override { return path_ + ", chip memory"; }
  std::optional<ChildIndex> only_child() const override { return chip_; }

 private:
  void give_back() override {
    (void)pool_->pool->free(id()).ok();
    if (const std::shared_ptr<Node> node = node_.lock()) node->release_buffer_at(chip_, id());
  }

  const std::shared_ptr<OwnPool> pool_;
  const ChildIndex chip_;
  const std::string path_;
  const std::weak_ptr<Node> node_;
};

std::uint64_t half_of_memory() {
  const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 2;
}

}  // namespace

Result<std::shared_ptr<OwnPool>> make_own_pool(std::uint64_t bytes_max, std::string owner) {
  SystemEnv env;
  HostPoolOptions options;
  options.bytes_max = bytes_max != 0 ? bytes_max : half_of_memory();
  options.owner = owner;
  ECHELON_ASSIGN_OR_RETURN(auto pool, HostPool::create(Uid{env.random_nonzero()}, options));
  return std::make_shared<OwnPool>(std::move(pool), std::move(owner));
}

Tensor allocate_host_tensor(const std::shared_ptr<OwnPool>& pool, const Shape& shape, DType dtype,
                            bool zeroed) {
  const std::uint64_t bytes = checked_bytes(shape, dtype);
  const BufferId id = value_or_throw(pool->pool->allocate(bytes));
  BufferRef buffer(new HostBuffer(pool, id, bytes));
  if (zeroed && bytes != 0) std::memset(value_or_throw(pool->pool->bytes_of(id)).data(), 0, bytes);
  const Uid issuer = pool->pool->issuer();
  return TensorAccess::make(make_contiguous(issuer, id, issuer, dtype, shape, Access::kReadWrite),
                            std::move(buffer));
}

NodeMemory::NodeMemory(std::shared_ptr<OwnPool> own, WorkerPools& pools)
    : own_(std::move(own)),
      pools_(pools),
      borrowed_(std::make_shared<BorrowedMemory>(Uid{SystemEnv().random_nonzero()})) {
  pools_.set_own(own_->pool.get());
}

void NodeMemory::add_chip(ChildIndex child, Uid uid, std::string path, std::weak_ptr<Node> node) {
  chips_.push_back({child, uid, std::move(path), std::move(node)});
}

Tensor NodeMemory::allocate(const Shape& shape, DType dtype) {
  return allocate_host_tensor(own_, shape, dtype, false);
}

Tensor NodeMemory::allocate_on_chip(ChildIndex child, const Shape& shape, DType dtype) {
  const auto chip = std::find_if(chips_.begin(), chips_.end(),
                                 [&](const Chip& candidate) { return candidate.child == child; });
  if (chip == chips_.end()) throw_bad_argument("a chip tensor needs a chip of this Worker");
  const std::uint64_t bytes = checked_bytes(shape, dtype);
  const BufferId id = value_or_throw(own_->pool->name_elsewhere(bytes));
  BufferRef buffer(new ChipBuffer(own_, id, chip->uid, child, chip->path, chip->node));
  return TensorAccess::make(
      make_contiguous(own_->pool->issuer(), id, chip->uid, dtype, shape, Access::kReadWrite),
      std::move(buffer));
}

Result<std::byte*> NodeMemory::open_local(const TensorDesc& desc, Access want) {
  return desc.issuer == borrowed_->issuer() ? borrowed_->open(desc, want) : pools_.open(desc, want);
}

Status NodeMemory::check_usable_here(const Buffer& buffer, std::size_t argument) const {
  if (buffer.in_forked_copy()) {
    return Status::error(
        Code::kFailedPrecondition, Reason::kForeignHandle,
        fmt::format(
            "tensor argument {} was captured by the function before start() and belongs to another "
            "process ({}); pass it as an argument of the task",
            argument, buffer.describe()));
  }
  ECHELON_RETURN_IF_ERROR(buffer.check_usable());
  if (buffer.lent() || buffer.issuer() == own_->pool->issuer()) return {};
  if (buffer.issuer() == borrowed_->issuer()) return {};
  const bool below = std::any_of(remotes_.begin(), remotes_.end(), [&](const auto* remote) {
    return remote->pool() == buffer.issuer();
  });
  if (below) return {};
  return Status::error(
      Code::kInvalidArgument, Reason::kForeignHandle,
      fmt::format("tensor argument {} belongs to another Worker: {}", argument, buffer.describe()));
}

}  // namespace echelon::detail
