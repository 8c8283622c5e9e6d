// SPDX-License-Identifier: Apache-2.0
#include "shm/task_body.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "base/codec.h"

namespace echelon {
namespace {

constexpr std::size_t kBodyHeaderBytes = 8;
constexpr std::size_t kScalarWireBytes = 16;
constexpr std::size_t kConfigFixedBytes = 5 * 4 + 2 * 2;

std::size_t config_bytes(const CallConfig* config) {
  if (config == nullptr || *config == CallConfig{}) return 0;
  std::size_t bytes = kConfigFixedBytes + config->scope.size();
  for (const auto& [key, value] : config->values) bytes += 4 + key.size() + value.size();
  return bytes;
}

void put_config(const CallConfig& config, ByteWriter& out) {
  for (const std::uint32_t blocks : config.grid) out.put(blocks);
  out.put(config.cores);
  out.put(config.profiling);
  out.put(static_cast<std::uint16_t>(config.scope.size()));
  out.put(static_cast<std::uint16_t>(config.values.size()));
  out.put_text(config.scope);
  for (const auto& [key, value] : config.values) {
    out.put(static_cast<std::uint16_t>(key.size()));
    out.put(static_cast<std::uint16_t>(value.size()));
    out.put_text(key);
    out.put_text(value);
  }
}

Status bad(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame, "a task body is not valid: " + what);
}

Status decode_config(std::span<const std::byte> bytes, CallConfig& config) {
  ByteReader in(bytes);
  for (std::uint32_t& blocks : config.grid) blocks = in.get<std::uint32_t>();
  config.cores = in.get<std::uint32_t>();
  config.profiling = in.get<std::uint32_t>();
  const auto scope_bytes = in.get<std::uint16_t>();
  const auto value_count = in.get<std::uint16_t>();
  config.scope = in.text(scope_bytes);
  if (!in.ok()) return bad("its config is cut short");
  for (const std::uint32_t blocks : config.grid) {
    if (blocks == 0) return bad("its grid has no blocks");
  }
  for (std::uint16_t i = 0; i < value_count; ++i) {
    const auto key_bytes = in.get<std::uint16_t>();
    const auto value_bytes = in.get<std::uint16_t>();
    const std::string_view key = in.text(key_bytes);
    const std::string_view value = in.text(value_bytes);
    if (!in.ok()) return bad("a config value is cut short");
    if (!config.values.emplace(key, value).second) return bad("a config key stands there twice");
  }
  return in.remaining() == 0 ? Status() : bad("bytes follow its config");
}

Status decode_scalar(ByteReader& in, ScalarValue& scalar) {
  const auto head = in.get<std::uint64_t>();  // dtype, then 7 zero bytes
  scalar.bits = in.get<std::uint64_t>();
  if (!in.ok()) return bad("a scalar is cut short");
  if (head == 0 || head > kDTypeLast) return bad(fmt::format("scalar dtype {:#x}", head));
  scalar.dtype = static_cast<DType>(head);
  const std::size_t bytes = size_of(scalar.dtype);
  if (bytes < 8 && (scalar.bits >> (8 * bytes)) != 0) return bad("a scalar is not zero padded");
  return {};
}

void reset(TaskBody& body) {
  body.tensors.clear();
  body.scalars.clear();
  body.config.grid = {1, 1, 1};
  body.config.cores = 0;
  body.config.profiling = 0;
  body.config.scope.clear();
  body.config.values.clear();
  body.inlined.clear();
}

Status decode_inlined(ByteReader& in, std::size_t count, TaskBody& body) {
  std::array<std::uint32_t, kTaskInlineMax> sizes{};
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += sizes[i] = in.get<std::uint32_t>();
  if (!in.ok()) return bad("the sizes of its inline bytes are cut short");
  if (total > kTaskInlineBytesMax) return bad(fmt::format("{} inline bytes", total));
  for (std::size_t i = 0; i < count; ++i) body.inlined.push_back(in.bytes(sizes[i]));
  return in.ok() ? Status() : bad("its inline bytes are cut short");
}

}  // namespace

std::size_t task_body_bytes(std::span<const TaggedTensor> tensors,
                            std::span<const ScalarValue> scalars, const CallConfig* config,
                            std::span<const InlineBytes> inlined) {
  std::size_t bytes = kBodyHeaderBytes + scalars.size() * kScalarWireBytes + config_bytes(config);
  for (const InlineBytes one : inlined) bytes += sizeof(std::uint32_t) + one.size();
  for (const TaggedTensor& tensor : tensors) bytes += tensor.desc.wire_bytes();
  return bytes;
}

std::size_t encode_task_body(std::span<const TaggedTensor> tensors,
                             std::span<const ScalarValue> scalars, const CallConfig* config,
                             std::span<std::byte> out, std::span<const InlineBytes> inlined) {
  ECHELON_CHECK(tensors.size() <= kTaskTensorsMax && scalars.size() <= kTaskScalarsMax &&
                    inlined.size() <= kTaskInlineMax,
                tensors.size(), scalars.size(), inlined.size());
  const std::size_t of_config = config_bytes(config);
  ECHELON_CHECK(of_config <= kTaskConfigBytesMax, of_config);
  ByteWriter writer(out);
  writer.put(static_cast<std::uint16_t>(tensors.size()));
  writer.put(static_cast<std::uint16_t>(scalars.size()));
  writer.put(static_cast<std::uint16_t>(of_config));
  writer.put(static_cast<std::uint16_t>(inlined.size()));
  for (const TaggedTensor& tensor : tensors) {
    writer.claim(encode(tensor.desc, tensor.tag, writer.unwritten()));
  }
  for (const ScalarValue& scalar : scalars) {
    writer.put(static_cast<std::uint64_t>(scalar.dtype));
    writer.put(scalar.bits);
  }
  if (of_config != 0) put_config(*config, writer);
  for (const InlineBytes one : inlined) writer.put(static_cast<std::uint32_t>(one.size()));
  for (const InlineBytes one : inlined) writer.put_bytes(one);
  ECHELON_CHECK(writer.ok(), out.size(), writer.size());
  return writer.size();
}

Status decode_task_body(std::span<const std::byte> bytes, TaskBody& body) {
  reset(body);
  ByteReader in(bytes);
  const auto tensor_count = in.get<std::uint16_t>();
  const auto scalar_count = in.get<std::uint16_t>();
  const auto of_config = in.get<std::uint16_t>();
  const auto inline_count = in.get<std::uint16_t>();
  if (!in.ok()) return bad("it is cut short");
  if (tensor_count > kTaskTensorsMax || scalar_count > kTaskScalarsMax ||
      of_config > kTaskConfigBytesMax || inline_count > kTaskInlineMax) {
    return bad(fmt::format("{} tensors, {} scalars, {} bytes of config, {} inline arguments",
                           tensor_count, scalar_count, of_config, inline_count));
  }
  std::span<const std::byte> rest = in.rest();
  body.tensors.resize(tensor_count);
  for (TaggedTensor& tensor : body.tensors) {
    ECHELON_RETURN_IF_ERROR(decode(rest, tensor.desc, tensor.tag));
  }
  ByteReader after(rest);
  body.scalars.resize(scalar_count);
  for (ScalarValue& scalar : body.scalars) ECHELON_RETURN_IF_ERROR(decode_scalar(after, scalar));
  const auto config = after.bytes(of_config);
  if (!after.ok()) return bad(fmt::format("its config of {} bytes is cut short", of_config));
  if (of_config != 0) ECHELON_RETURN_IF_ERROR(decode_config(config, body.config));
  ECHELON_RETURN_IF_ERROR(decode_inlined(after, inline_count, body));
  return after.remaining() == 0 ? Status() : bad("bytes follow its end");
}

}  // namespace echelon
