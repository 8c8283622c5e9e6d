// SPDX-License-Identifier: Apache-2.0
//
// A part of a tensor's dense row-major bytes, gathered from or scattered to its view: pieces of a
// transfer, each found without walking the ones before it.
//
// Threads: safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "shm/tensor_desc.h"

namespace echelon {

/// Dense bytes [offset, offset + dense.size()) of the tensor whose first element lies at `from`.
/// REQUIRES: they are within desc.payload_bytes().
void gather_range(const TensorDesc& desc, const std::byte* from, std::uint64_t offset,
                  std::span<std::byte> dense);
/// The other way.
void scatter_range(const TensorDesc& desc, std::uint64_t offset, std::span<const std::byte> dense,
                   std::byte* to);
/// scatter_range() of bytes that come in parts, `first` before all of `more`.
void scatter_parts(const TensorDesc& desc, std::uint64_t offset, std::span<const std::byte> first,
                   std::span<const std::span<const std::byte>> more, std::byte* to);

}  // namespace echelon
