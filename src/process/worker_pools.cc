// SPDX-License-Identifier: Apache-2.0
#include "process/worker_pools.h"

namespace echelon {

Result<std::byte*> WorkerPools::open(const TensorDesc& desc, Access want) {
  if (own_ != nullptr && own_->issuer() == desc.issuer) return own_->open(desc, want);
  return directory_.open(desc, want, [this] { return upper_ != nullptr && upper_->fetch_more(); });
}

std::uint64_t WorkerPools::epoch() const {
  // Both only rise, so their sum changes when either does.
  const std::uint64_t own = own_ == nullptr ? 0 : own_->segment_count();
  // pairs with the release increment in adopt(): what was adopted is found
  return own + adopted_.load(std::memory_order_acquire);
}

std::optional<PoolDescriptors> WorkerPools::descriptors(Uid issuer) {
  if (own_ != nullptr && own_->issuer() == issuer) return own_->descriptors();
  if (auto known = directory_.descriptors(issuer); known.has_value()) return known;
  if (upper_ == nullptr || !upper_->fetch_more()) return std::nullopt;
  return directory_.descriptors(issuer);
}

Status WorkerPools::adopt(ReceivedPush push, SpillInbox& spills) {
  const bool pool = push.push.kind != PushKind::kSpill;
  Status adopted = adopt_push(std::move(push), directory_, spills);
  // pairs with the acquire load in epoch()
  if (pool) adopted_.fetch_add(1, std::memory_order_release);
  return adopted;
}

}  // namespace echelon
