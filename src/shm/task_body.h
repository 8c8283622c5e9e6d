// SPDX-License-Identifier: Apache-2.0
//
// The body of a task frame: tensors with their tags, scalars with their types, CallConfig, scope.
// The same bytes in a ring and on a lane; one encoder, one decoder.
//
//   u16 tensor_count, u16 scalar_count, u16 config_bytes (0: all defaults), u16 inline_count
//   tensors     tensor_count x wire form (tensor_desc.h)
//   scalars     scalar_count x { u8 dtype, 7 zero bytes, 8 bytes value (little-endian, zero
//               padded) }
//   config      config_bytes: u32 grid[3], u32 cores, u32 profiling, u16 scope_bytes,
//               u16 value_count, scope, then value_count x { u16 key_bytes, u16 value_bytes, key,
//               value }
//   inline      inline_count x { u32 bytes }, then the bytes of all of them
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <echelon/call_config.h>

#include "shm/tensor_desc.h"

namespace echelon {

inline constexpr std::size_t kTaskTensorsMax = 64;
inline constexpr std::size_t kTaskScalarsMax = 64;
inline constexpr std::size_t kTaskConfigBytesMax = 16 * 1024;
inline constexpr std::size_t kTaskInlineMax = 64;
/// Of one task, all of them together.
inline constexpr std::size_t kTaskInlineBytesMax = std::size_t{1} << 20;
static_assert(kTaskConfigBytesMax <= 0xFFFF);

struct ScalarValue {
  DType dtype = DType::kNone;
  std::uint64_t bits = 0;  // the value's bytes, zero padded
};

struct TaggedTensor {
  TensorDesc desc;
  Tag tag = Tag::kInput;
};

/// Bytes that travel within a task.
using InlineBytes = std::span<const std::byte>;

/// Bytes that encode_task_body will write. `config` may be null (defaults).
std::size_t task_body_bytes(std::span<const TaggedTensor> tensors,
                            std::span<const ScalarValue> scalars, const CallConfig* config,
                            std::span<const InlineBytes> inlined = {});

/// REQUIRES: out.size() >= task_body_bytes(...). Returns the bytes written. Allocates nothing.
std::size_t encode_task_body(std::span<const TaggedTensor> tensors,
                             std::span<const ScalarValue> scalars, const CallConfig* config,
                             std::span<std::byte> out, std::span<const InlineBytes> inlined = {});

/// A decoded body. Reused from task to task by its executor, so that decoding does not allocate in
/// the steady state.
struct TaskBody {
  std::vector<TaggedTensor> tensors;
  std::vector<ScalarValue> scalars;
  CallConfig config;
  std::vector<InlineBytes> inlined;  // views of what was decoded
};

/// Validates everything; on error `body` is unspecified. Errors: kBadFrame, saying what was wrong.
Status decode_task_body(std::span<const std::byte> bytes, TaskBody& body);

}  // namespace echelon
