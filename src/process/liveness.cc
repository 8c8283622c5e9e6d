// SPDX-License-Identifier: Apache-2.0
#include "process/liveness.h"

#include <linux/futex.h>

#include <cerrno>

namespace echelon {
namespace {

// glibc keeps the futex word of a robust mutex here: the owner's thread id, FUTEX_WAITERS,
// FUTEX_OWNER_DIED, as the kernel's robust list requires. liveness_test.cc proves it.
std::atomic<std::uint32_t>* futex_word(const LivenessData& data) {
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(data.mutex.__data.__lock));
  auto* lock = const_cast<int*>(&data.mutex.__data.__lock);
  return reinterpret_cast<std::atomic<std::uint32_t>*>(lock);
}

// PTHREAD_MUTEX_ROBUST_NORMAL_NP of glibc's pthreadP.h.
constexpr int kRobustKind = 16;

LivenessState state_of(std::uint32_t word) {
  if ((word & FUTEX_OWNER_DIED) != 0) return LivenessState::kOwnerDied;
  return (word & FUTEX_TID_MASK) != 0 ? LivenessState::kAlive : LivenessState::kNotYet;
}

}  // namespace

Status init_liveness(LivenessData& data) {
  pthread_mutexattr_t attributes;
  int error = pthread_mutexattr_init(&attributes);
  if (error == 0) error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  if (error == 0) error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  if (error == 0) error = pthread_mutex_init(&data.mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  return error == 0 ? Status() : Status::from_errno(error, "pthread_mutex_init(robust, shared)");
}

Status hold_liveness(LivenessData& data) {
  // A zeroed mutex is a valid one, but not robust: its owner's death would go unnoticed.
  if ((data.mutex.__data.__kind & kRobustKind) == 0) {
    return Status::error(Code::kFailedPrecondition, Reason::kWrongState,
                         "the liveness word of this channel was not initialised by its parent");
  }
  const int error = pthread_mutex_trylock(&data.mutex);
  if (error == 0) return Status();
  if (error == EBUSY || error == EOWNERDEAD) {
    return Status::error(Code::kFailedPrecondition, Reason::kWrongState,
                         "the liveness word of this channel has an owner already");
  }
  return Status::from_errno(error, "pthread_mutex_trylock(liveness)");
}

LivenessWatch::LivenessWatch(const LivenessData& data) : word_(futex_word(data)) {}

LivenessState LivenessWatch::state() const {
  // pairs with the kernel's exchange at the owner's end: what the owner wrote before is visible
  return state_of(word_->load(std::memory_order_acquire));
}

LivenessWatch::Armed LivenessWatch::arm() {
  // pairs with the kernel's exchange at the owner's end, as in state()
  std::uint32_t word = word_->load(std::memory_order_acquire);
  for (;;) {
    const LivenessState state = state_of(word);
    if (state != LivenessState::kAlive || (word & FUTEX_WAITERS) != 0) return {state, word};
    const std::uint32_t armed = word | FUTEX_WAITERS;
    // pairs with the kernel's exchange: it either sees the flag and wakes, or we see OWNER_DIED
    if (word_->compare_exchange_weak(word, armed, std::memory_order_seq_cst)) {
      return {LivenessState::kAlive, armed};
    }
  }
}

}  // namespace echelon
