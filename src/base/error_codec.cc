// SPDX-License-Identifier: Apache-2.0
#include "base/error_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/codec.h"

namespace echelon {
namespace {

constexpr std::uint8_t kVersion = 2;
constexpr std::size_t kTexts = 6;
constexpr std::size_t kFixedBytes = 12 + 4 * 8 + kTexts * 4 + 4;
static_assert(kFixedBytes <= kErrorBytesMin);
constexpr std::string_view kCutNote = "... [cut]";

using Texts = std::array<const std::string*, kTexts>;
Texts texts_of(const ErrorInfo& info) {
  return {&info.message, &info.path, &info.host, &info.callable, &info.digest, &info.traceback};
}

/// The longest prefix of at most `room` bytes that does not end within a UTF-8 character.
std::string_view prefix(std::string_view text, std::size_t room) {
  if (text.size() <= room) return text;
  while (room > 0 && (static_cast<unsigned char>(text[room]) & 0xC0) == 0x80) --room;
  return text.substr(0, room);
}

void put_text(ByteWriter& out, std::string_view text, std::size_t room) {
  std::string cut;
  if (text.size() > room) {
    const bool note = room > 2 * kCutNote.size();
    cut = prefix(text, note ? room - kCutNote.size() : room);
    if (note) cut += kCutNote;
    text = cut;
  }
  out.put(static_cast<std::uint32_t>(text.size()));
  out.put_text(text);
}

std::size_t own_bytes(const ErrorInfo& info) {
  std::size_t bytes = kFixedBytes + info.exception.size();
  for (const std::string* text : texts_of(info)) bytes += text->size();
  return bytes;
}

std::size_t error_bytes_at(const ErrorInfo& info, unsigned depth) {
  std::size_t bytes = own_bytes(info);
  if (depth + 1 >= kErrorDepthMax) return bytes;
  for (const ErrorInfo& other : info.others) bytes += 4 + error_bytes_at(other, depth + 1);
  return bytes;
}

/// How many bytes each text gets of `room`: all of it where everything fits; else the short names
/// first, the message at most half of what is left, the traceback at most three quarters of the
/// rest where other errors want some.
std::array<std::size_t, kTexts> share(const ErrorInfo& info, std::size_t room) {
  const Texts texts = texts_of(info);
  std::array<std::size_t, kTexts> rooms{};
  const auto give = [&](std::size_t index, std::size_t most) {
    rooms[index] = std::min(texts[index]->size(), most);
    room -= rooms[index];
  };
  constexpr std::array<std::size_t, 4> kNames = {1, 3, 4, 2};  // path, callable, digest, host
  for (const std::size_t name : kNames) give(name, room / 6);
  give(0, texts[5]->empty() && info.others.empty() ? room : room / 2);
  give(5, info.others.empty() ? room : room - room / 4);
  return rooms;
}

std::size_t encode_at(const ErrorInfo& info, std::span<std::byte> out, unsigned depth);

/// Writes as many others as fit; returns how many. `whole`: all of them do.
std::uint16_t put_others(ByteWriter& out, const ErrorInfo& info, bool whole, unsigned depth) {
  std::uint16_t count = 0;
  if (depth + 1 >= kErrorDepthMax) return 0;
  for (const ErrorInfo& other : info.others) {
    if (count == UINT16_MAX || out.remaining() < 4 + (whole ? kFixedBytes : kErrorBytesMin)) break;
    std::size_t most = out.remaining() - 4;
    // a long one may not take the place of all that follow
    if (!whole) most = std::max(kErrorBytesMin, most / 2);
    const std::size_t bytes = encode_at(other, out.unwritten().subspan(4, most), depth + 1);
    out.put(static_cast<std::uint32_t>(bytes));
    out.claim(bytes);
    ++count;
  }
  return count;
}

std::size_t encode_at(const ErrorInfo& info, std::span<std::byte> out, unsigned depth) {
  ByteWriter writer(out);
  const bool whole = error_bytes_at(info, depth) <= out.size();
  const auto rooms = share(info, out.size() - kFixedBytes);
  writer.put(kVersion);
  writer.put(info.code);
  writer.put(info.reason);
  writer.put(info.phase);
  writer.put(info.cause);
  const std::span<std::byte> counts = out.subspan(writer.size(), 6);
  writer.put_zeros(counts.size());
  writer.put(info.pid);
  writer.put(info.signal);
  writer.put(info.exit_code);
  writer.put(static_cast<std::int64_t>(info.time_in_phase.count()));
  const Texts texts = texts_of(info);
  for (std::size_t i = 0; i < kTexts; ++i) {
    put_text(writer, *texts[i], whole ? texts[i]->size() : rooms[i]);
  }
  const std::string_view exception = whole ? std::string_view(info.exception) : "";
  writer.put(static_cast<std::uint32_t>(exception.size()));
  writer.put_text(exception);
  const std::uint16_t kept = put_others(writer, info, whole, depth);
  ByteWriter count_writer(counts);
  count_writer.put(kept);
  count_writer.put(static_cast<std::uint32_t>(info.others.size() - kept));
  ECHELON_CHECK(writer.ok(), out.size(), writer.size());
  return writer.size();
}

Status bad(std::string_view what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       fmt::format("an encoded error is not valid: {}", what));
}

Status decode_codes(ByteReader& in, ErrorInfo& info) {
  info.code = in.get<Code>();
  info.reason = in.get<Reason>();
  info.phase = in.get<Phase>();
  info.cause = in.get<Cause>();
  if (!in.ok()) return bad("it ends within its header");
  if (info.code == Code::kOk || info.code > Code::kUnauthenticated) return bad("unknown code");
  if (info.reason > kReasonLast) return bad("unknown reason");
  if (info.phase > kPhaseLast) return bad("unknown phase");
  if (info.cause > kCauseLast) return bad("unknown cause");
  return {};
}

Status decode_at(std::span<const std::byte> bytes, unsigned depth, ErrorInfo& info) {
  ByteReader in(bytes);
  if (in.get<std::uint8_t>() != kVersion) return bad("unknown version");
  ECHELON_RETURN_IF_ERROR(decode_codes(in, info));
  const auto count = in.get<std::uint16_t>();
  const auto dropped = in.get<std::uint32_t>();
  info.pid = in.get<std::int64_t>();
  info.signal = in.get<std::int64_t>();
  info.exit_code = in.get<std::int64_t>();
  info.time_in_phase = std::chrono::nanoseconds(in.get<std::int64_t>());
  for (std::string* text :
       {&info.message, &info.path, &info.host, &info.callable, &info.digest, &info.traceback}) {
    *text = in.text(in.get<std::uint32_t>());
  }
  info.exception = in.text(in.get<std::uint32_t>());
  if (!in.ok()) return bad("a text is longer than what was sent");
  if (count > 0 && depth + 1 >= kErrorDepthMax) return bad("errors nested too deep");
  if (count > in.remaining() / (4 + kFixedBytes)) return bad("more errors announced than sent");
  info.others.resize(count);
  for (ErrorInfo& other : info.others) {
    const auto part = in.bytes(in.get<std::uint32_t>());
    if (!in.ok()) return bad("a nested error is longer than what was sent");
    ECHELON_RETURN_IF_ERROR(decode_at(part, depth + 1, other));
  }
  if (in.remaining() != 0) return bad("bytes follow its end");
  if (dropped != 0) info.message += fmt::format(" [and {} more errors, not kept]", dropped);
  return {};
}

}  // namespace

std::size_t error_bytes(const ErrorInfo& info) {
  return std::max(error_bytes_at(info, 0), kErrorBytesMin);
}

std::size_t encode_error(const ErrorInfo& info, std::span<std::byte> out) {
  ECHELON_CHECK(out.size() >= kErrorBytesMin, out.size());
  return encode_at(info, out.first(std::min(out.size(), kErrorBytesMax)), 0);
}

std::vector<std::byte> encode_error(const ErrorInfo& info, std::size_t budget) {
  std::vector<std::byte> bytes(std::min({error_bytes(info), budget, kErrorBytesMax}));
  bytes.resize(encode_error(info, bytes));
  return bytes;
}

Result<ErrorInfo> decode_error(std::span<const std::byte> bytes) {
  if (bytes.size() > kErrorBytesMax) return bad("larger than an error may be");
  ErrorInfo info;
  ECHELON_RETURN_IF_ERROR(decode_at(bytes, 0, info));
  return info;
}

}  // namespace echelon
