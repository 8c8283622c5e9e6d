// SPDX-License-Identifier: Apache-2.0
//
// Buffer: memory with a home, behind Tensor handles. Four kinds: this Worker's own shared memory,
// a chip's memory, a remote Worker's memory, and a loan from the level above.
//
// Two counts. Handles and pins keep the object; its memory is kept by one claim that all handles
// share, which free() drops early, and by one claim a pin. A pin is what a task in flight holds.
//
// Threads: safe. Fork: a copy in a forked process gives nothing back.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/fork_generation.h"
#include "base/ids.h"
#include "base/status.h"
#include "shm/tensor_desc.h"

namespace echelon::detail {

class Buffer {
 public:
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Uid issuer() const { return issuer_; }
  BufferId id() const { return id_; }
  Uid home() const { return home_; }

  /// Counts a handle; the first is counted by the constructor.
  void add_handle();
  void drop_handle();
  // --- whether its bytes can have changed: for who keeps a copy of them
  /// Around a task's submission that may write it: once before, once after, so that whoever reads
  /// version() in between, or copies before it, finds another one later.
  void note_write() { version_.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  /// Somebody has its address and may write at any time, from now on for ever.
  void note_writable_view() { written_by_hand_.store(true, std::memory_order_relaxed); }
  bool written_by_hand() const { return written_by_hand_.load(std::memory_order_relaxed); }

  /// Stale from here on for every handle; the memory goes when the last task is done with it.
  void free();
  /// Keeps the memory for a task. False: freed.
  [[nodiscard]] bool try_pin();
  void unpin();

  /// Errors: kStaleHandle.
  virtual Status check_usable() const;
  /// Where the first element of `desc` is in this process. Errors: kStaleHandle; kWrongAccess for
  /// memory that this process cannot reach, saying what to do.
  virtual Result<std::byte*> address(const TensorDesc& desc, Access want) const = 0;
  /// "pod0, host memory", for people.
  virtual std::string describe() const = 0;
  /// The one child that reaches it; nullopt: all of them do.
  virtual std::optional<ChildIndex> only_child() const { return std::nullopt; }
  /// On another host.
  virtual bool remote() const { return false; }
  /// Lent by the level above.
  virtual bool lent() const { return false; }
  bool in_forked_copy() const { return mark_.in_forked_copy(); }

 protected:
  Buffer(Uid issuer, BufferId id, Uid home) : issuer_(issuer), id_(id), home_(home) {}
  virtual ~Buffer() = default;
  /// The handles' claim is about to go: from here on only pins keep the memory. Called once.
  virtual void leave_to_pins() {}
  /// The last claim is gone, after leave_to_pins(); called once, not in a forked copy.
  virtual void give_back() = 0;

 private:
  void drop_claim();
  void drop_reference();
  void drop_shared_claim();

  const Uid issuer_;
  const BufferId id_;
  const Uid home_;
  const ForkMark mark_;
  std::atomic<std::uint32_t> references_{1};  // handles and pins: the object
  std::atomic<std::uint32_t> handles_{1};
  std::atomic<std::uint32_t> claims_{1};  // the handles' one and pins: the memory
  std::atomic<bool> freed_{false};        // the handles' claim is dropped
  std::atomic<std::uint64_t> version_{0};
  std::atomic<bool> written_by_hand_{false};
};

/// Holds one handle.
class BufferRef {
 public:
  BufferRef() = default;
  /// Takes over the handle that a constructor counted.
  explicit BufferRef(Buffer* adopted) : buffer_(adopted) {}
  BufferRef(const BufferRef& other) : buffer_(other.buffer_) {
    if (buffer_ != nullptr) buffer_->add_handle();
  }
  BufferRef(BufferRef&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
  BufferRef& operator=(BufferRef other) noexcept {
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~BufferRef() {
    if (buffer_ != nullptr) buffer_->drop_handle();
  }
  Buffer* get() const { return buffer_; }
  Buffer* operator->() const { return buffer_; }
  explicit operator bool() const { return buffer_ != nullptr; }

 private:
  Buffer* buffer_ = nullptr;
};

}  // namespace echelon::detail
