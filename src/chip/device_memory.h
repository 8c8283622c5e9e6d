// SPDX-License-Identifier: Apache-2.0
//
// What a chip keeps in its device's memory from task to task: the buffers whose home it is, and
// pieces for staging host tensors, used again so that a steady flow of tasks allocates nothing.
//
// Threads: the executor alone. Ownership: both free what they hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "chip/device.h"

namespace echelon {

/// Idle staging pieces, at most; beyond that they are freed.
inline constexpr std::uint64_t kStagingIdleBytesMax = std::uint64_t{256} << 20;
inline constexpr std::uint64_t kStagingBytesMin = 256;

/// Pieces for staging, by power-of-two size.
class StagingCache {
 public:
  /// `device` must outlive it.
  explicit StagingCache(ChipDevice& device) : device_(device) {}
  ~StagingCache();
  StagingCache(const StagingCache&) = delete;
  StagingCache& operator=(const StagingCache&) = delete;

  struct Piece {
    DeviceMemory memory = 0;
    std::uint64_t bytes = 0;  // as given out
  };
  /// At least `bytes` of unspecified content; none for 0. Errors: kExhausted.
  Result<Piece> take(std::uint64_t bytes);
  void give_back(const Piece& piece);
  /// Frees what is idle.
  void clear();

  std::uint64_t idle_bytes() const { return idle_bytes_; }

 private:
  ChipDevice& device_;
  std::map<std::uint64_t, std::vector<DeviceMemory>> idle_;
  std::uint64_t idle_bytes_ = 0;
};

/// The buffers that live on this chip, named by their issuers. Each is allocated, zeroed, when a
/// task first names it.
class DeviceBuffers {
 public:
  /// Both must outlive it; `staging` is emptied when memory is short.
  DeviceBuffers(ChipDevice& device, StagingCache& staging) : device_(device), staging_(staging) {}
  ~DeviceBuffers();
  DeviceBuffers(const DeviceBuffers&) = delete;
  DeviceBuffers& operator=(const DeviceBuffers&) = delete;

  /// Nothing for a buffer that no task has named yet.
  struct Buffer {
    DeviceMemory memory = 0;
    std::uint64_t bytes = 0;
  };
  const Buffer* find(Uid issuer, BufferId id) const;
  /// Errors: kExhausted. REQUIRES: !find(issuer, id).
  Result<Buffer> add(Uid issuer, BufferId id, std::uint64_t bytes);
  /// Frees the buffers of this name; none is no error (no task has named it).
  void release(BufferId id);

  std::size_t count() const { return buffers_.size(); }
  std::uint64_t bytes() const { return bytes_; }

 private:
  ChipDevice& device_;
  StagingCache& staging_;
  std::map<std::pair<BufferId, Uid>, Buffer> buffers_;
  std::uint64_t bytes_ = 0;
};

}  // namespace echelon
