// SPDX-License-Identifier: Apache-2.0
//
// ErrorInfo as bytes: completions, last words, results of start. Bounded both ways.
//
//   u8 version (2), u8 code, u16 reason, u8 phase, u8 cause, u16 others_count, u32 others_dropped,
//   i64 pid, i64 signal, i64 exit_code, i64 time_in_phase (ns),
//   message, path, host, callable, digest, traceback: each u32 bytes, then UTF-8 text,
//   exception: u32 bytes, then as given: whole, or nothing where it does not fit,
//   others: others_count x { u32 bytes, the same form }
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"

namespace echelon {

/// Room that always suffices for an ErrorInfo without its texts.
inline constexpr std::size_t kErrorBytesMin = 128;
/// The most that either side handles.
inline constexpr std::size_t kErrorBytesMax = 1u << 20;
/// Errors within errors within errors: deeper ones are dropped (and counted) by the encoder and
/// refused by the decoder.
inline constexpr unsigned kErrorDepthMax = 4;

/// Bytes of the whole of it.
std::size_t error_bytes(const ErrorInfo& info);

/// Writes as much as fits: texts are cut ("... [cut]") and others dropped (the decoded message says
/// how many), the most useful kept longest. REQUIRES: out.size() >= kErrorBytesMin. Returns the
/// bytes written.
std::size_t encode_error(const ErrorInfo& info, std::span<std::byte> out);

/// The whole of it, up to `budget` bytes. REQUIRES: budget >= kErrorBytesMin.
std::vector<std::byte> encode_error(const ErrorInfo& info, std::size_t budget = kErrorBytesMax);

/// Validates everything. Errors: kBadFrame, with what was wrong.
Result<ErrorInfo> decode_error(std::span<const std::byte> bytes);

}  // namespace echelon
