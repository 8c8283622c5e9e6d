// SPDX-License-Identifier: Apache-2.0
#include "shm/channel.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "base/syscall.h"

namespace echelon {
namespace {

// Texts may be read while they are written: character by character, so that nothing is undefined;
// what a reader sees may mix two texts, which does no harm in a message for people.
void store_text(std::string_view text, char* at) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::atomic_ref<char>(at[i]).store(text[i], std::memory_order_relaxed);
  }
}

std::string load_text(const char* at, std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) {
    text[i] = std::atomic_ref<char>(const_cast<char&>(at[i])).load(std::memory_order_relaxed);
  }
  return text;
}

ChildState load_state(const ChannelData& data) {
  // pairs with the release store in ChannelChild::set_state: the phase was written before
  const std::uint32_t state = data.state.state.load(std::memory_order_acquire);
  return state <= static_cast<std::uint32_t>(kChildStateLast) ? static_cast<ChildState>(state)
                                                              : ChildState::kFailed;
}

ChannelCounters load_counters(const ChannelCountersData& data) {
  ChannelCounters counters;
  counters.tasks_done = data.tasks_done.load(std::memory_order_relaxed);
  counters.tasks_failed = data.tasks_failed.load(std::memory_order_relaxed);
  counters.busy_ns = data.busy_ns.load(std::memory_order_relaxed);
  counters.bytes_in = data.bytes_in.load(std::memory_order_relaxed);
  counters.bytes_out = data.bytes_out.load(std::memory_order_relaxed);
  return counters;
}

/// One writer: no read-modify-write needed.
void add(std::atomic<std::uint64_t>& counter, std::uint64_t more) {
  counter.store(counter.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

Status refuse(std::string what) {
  return Status::error(Code::kFailedPrecondition, Reason::kBadFrame,
                       "this channel is refused: " + std::move(what));
}

Status check_header(const ChannelHeaderData& header, Uid uid, const BuildIdBytes& build_id) {
  if (header.magic != kChannelMagic) return refuse("it is no channel");
  if (header.version != kChannelVersion) {
    return refuse(fmt::format("its version is {}, ours is {}", header.version, kChannelVersion));
  }
  if (header.build_id != build_id) {
    return refuse("its parent is of another build; install all parts of one build together");
  }
  if (header.uid != uid.value) return refuse("it is another child's");
  if (header.bytes != sizeof(ChannelData) || header.ring_bytes != kRingBytes ||
      header.window != kWindowMax) {
    return refuse("its sizes are not ours");
  }
  return {};
}

}  // namespace

std::string_view to_string(ChildState state) {
  switch (state) {
    case ChildState::kBooting:
      return "booting";
    case ChildState::kStarting:
      return "starting";
    case ChildState::kReady:
      return "ready";
    case ChildState::kFailed:
      return "failed";
    case ChildState::kClosing:
      return "closing";
  }
  return "invalid";
}

// --- parent
// ---------------------------------------------------------------------------------------

Result<ChannelParent> ChannelParent::create(Uid uid, const BuildIdBytes& build_id) {
  ChannelParent parent;
  parent.uid_ = uid;
  MapOptions options;
  options.dont_fork = true;
  options.prefault = true;
  ECHELON_ASSIGN_OR_RETURN(parent.segment_,
                           Segment::create("echelon-channel", sizeof(ChannelData), options));
  ChannelData& data = parent.data();
  data.header = {kChannelMagic,       kChannelVersion, kWindowMax, uid.value,
                 sizeof(ChannelData), kRingBytes,      build_id};
  parent.tasks = RingProducer({&data.task_position, data.task_ring});
  parent.completions =
      RingConsumer({&data.completion_position, data.completion_ring}, RingUse::kCompletions);
  parent.control_down = RingProducer({&data.control_down_position, data.control_down_ring});
  parent.control_up =
      RingConsumer({&data.control_up_position, data.control_up_ring}, RingUse::kControlUp);
  parent.executor = SleepWord(data.executor);
  parent.control = SleepWord(data.control);
  return parent;
}

std::span<std::byte, 64> ChannelParent::liveness() const {
  return data().liveness;
}

ChildState ChannelParent::state() const {
  return load_state(data());
}

const std::atomic<std::uint32_t>& ChannelParent::state_word() const {
  return data().state.state;
}

std::string ChannelParent::phase() const {
  const ChannelStateData& state = data().state;
  const std::size_t bytes =
      std::min<std::size_t>(state.phase_bytes.load(std::memory_order_relaxed), kPhaseBytesMax);
  std::string text = load_text(state.phase.data(), bytes);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7F; }, '?');
  return text;
}

std::string ChannelParent::last_words() const {
  // pairs with the release store in ChannelChild::write_last_words: the text is whole
  const std::size_t bytes = data().last_words_bytes.load(std::memory_order_acquire);
  return load_text(data().last_words.data(), std::min(bytes, kLastWordsBytesMax));
}

ChannelCounters ChannelParent::counters() const {
  return load_counters(data().counters);
}

// --- child
// ----------------------------------------------------------------------------------------

Result<ChannelChild> ChannelChild::open(UniqueFd fd, Uid uid, const BuildIdBytes& build_id) {
  ChannelChild child;
  child.uid_ = uid;
  MapOptions options;
  options.dont_fork = true;
  options.prefault = true;
  ECHELON_ASSIGN_OR_RETURN(child.segment_,
                           Segment::open(std::move(fd), sizeof(ChannelData), options));
  ChannelData& data = child.data();
  const ChannelHeaderData header = data.header;
  ECHELON_RETURN_IF_ERROR(check_header(header, uid, build_id));
  child.tasks = RingConsumer({&data.task_position, data.task_ring}, RingUse::kTasks);
  child.completions = RingProducer({&data.completion_position, data.completion_ring});
  child.control_down =
      RingConsumer({&data.control_down_position, data.control_down_ring}, RingUse::kControlDown);
  child.control_up = RingProducer({&data.control_up_position, data.control_up_ring});
  child.executor = SleepWord(data.executor);
  child.control = SleepWord(data.control);
  return child;
}

std::span<std::byte, 64> ChannelChild::liveness() const {
  return data().liveness;
}

void ChannelChild::set_phase(std::string_view phase) {
  ChannelStateData& to = data().state;
  phase = phase.substr(0, kPhaseBytesMax);
  store_text(phase, to.phase.data());
  to.phase_bytes.store(static_cast<std::uint32_t>(phase.size()), std::memory_order_relaxed);
}

void ChannelChild::set_state(ChildState state, std::string_view phase) {
  set_phase(phase);
  ChannelStateData& to = data().state;
  // pairs with the acquire load in load_state: publishes the phase
  to.state.store(static_cast<std::uint32_t>(state), std::memory_order_release);
  futex_wake(to.state, INT_MAX);
}

ChildState ChannelChild::state() const {
  return load_state(data());
}

void ChannelChild::write_last_words(std::string_view bytes) {
  // The text area belongs to the first writer; readers see it when its length is set.
  if (data().last_words_taken.exchange(1, std::memory_order_relaxed) != 0) return;
  bytes = bytes.substr(0, kLastWordsBytesMax);
  store_text(bytes, data().last_words.data());
  // pairs with the acquire load in ChannelParent::last_words: publishes the text
  data().last_words_bytes.store(static_cast<std::uint32_t>(bytes.size()),
                                std::memory_order_release);
}

void ChannelChild::count_task(bool failed, std::uint64_t busy_ns, std::uint64_t bytes_in,
                              std::uint64_t bytes_out) {
  ChannelCountersData& counters = data().counters;
  add(failed ? counters.tasks_failed : counters.tasks_done, 1);
  add(counters.busy_ns, busy_ns);
  add(counters.bytes_in, bytes_in);
  add(counters.bytes_out, bytes_out);
}

ChannelCounters ChannelChild::counters() const {
  return load_counters(data().counters);
}

}  // namespace echelon
