// SPDX-License-Identifier: Apache-2.0
//
// The numbers that docs/architecture.md works out by hand. Where one of these fails, change that
// page with the code.
#include "engine/access_map.h"
#include "engine/task_table.h"
#include "process/liveness.h"
#include "shm/buffer_table.h"
#include "shm/channel.h"
#include "shm/pool_push.h"
#include "shm/spill.h"
#include "shm/task_body.h"

namespace echelon {
namespace {

// "A channel"
static_assert(sizeof(ChannelData) == 270'336);
static_assert(kRingBytes == 65'536);
static_assert(kWindowMax == 16);
static_assert(kTaskBodyMax == 16'344);
static_assert(kCompletionBodyMax == 3'032);
static_assert(frame_bytes(kCompletionBodyMax) == 3'072);
static_assert((kWindowMax + 1) * 3'072 + kFrameAlign == 52'288);
static_assert(kLastWordsBytesMax == 4'096);
static_assert(sizeof(DoorbellData) == 64);

// "Bytes of a task"
static_assert(sizeof(FrameData) == 40);
static_assert(kTensorWireBytesMin == 40);
constexpr std::size_t body_bytes(std::size_t tensors, std::size_t rank, std::size_t scalars) {
  return 8 + tensors * (kTensorWireBytesMin + 16 * rank) + 16 * scalars;
}
static_assert(frame_bytes(body_bytes(0, 0, 0)) == 64);
static_assert(frame_bytes(body_bytes(2, 1, 1)) == 192);
constexpr std::size_t kStepBody = 8 + 5 * kTensorWireBytesMin + 16 * (2 + 1 + 2 + 1 + 1);
static_assert(kStepBody == 320 && frame_bytes(kStepBody) == 384);
constexpr std::size_t kGradientBody = 8 + 4 * kTensorWireBytesMin + 16 * (1 + 2 + 1 + 2) + 16 * 2;
static_assert(kGradientBody == 296 && frame_bytes(kGradientBody) == 384);
static_assert(kTaskTensorsMax == 64 && kTaskScalarsMax == 64);
static_assert(body_bytes(kTaskTensorsMax, kTensorRankMax, kTaskScalarsMax) == 11'784);
static_assert(frame_bytes(11'784) == 11'840);
static_assert(body_bytes(2, 1, 1) == 136);

// "Bytes in the engine"
static_assert(sizeof(Task) == 128);
static_assert(sizeof(AccessRecord) == 64);

constexpr EngineLimits kLimits;
static_assert(kLimits.tasks_max == 65'536 && kLimits.accesses_max == 262'144);
static_assert(kLimits.edges_max == 1'048'576 && kLimits.runs_max == 1'024);
static_assert(kLimits.errors_per_run_max == 32 && kLimits.leaf_grace_ns == 5'000'000);

// "Memory"
static_assert(kBuffersMax == 262'144);
static_assert(sizeof(BufferData) == 32);
static_assert(kBufferTableBytes == std::size_t{8} << 20);
static_assert(kPoolPushBytes == 32);
static_assert(sizeof(SpillData) == 16);

}  // namespace
}  // namespace echelon
