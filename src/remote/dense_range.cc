// SPDX-License-Identifier: Apache-2.0
#include "remote/dense_range.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "chip/strided.h"

namespace echelon {
namespace {

/// Stands at one run of a view; the innermost dimension last.
class RunCursor {
 public:
  RunCursor(const RunShape& shape, std::uint64_t run) : shape_(shape) {
    for (unsigned i = shape.rank; i > 0; --i) {
      index_[i - 1] = run % shape.count[i - 1];
      run /= shape.count[i - 1];
      offset_ += index_[i - 1] * shape.stride[i - 1];
    }
  }
  std::uint64_t offset() const { return offset_; }
  void next() {
    for (unsigned i = shape_.rank; i > 0; --i) {
      offset_ += shape_.stride[i - 1];
      if (++index_[i - 1] < shape_.count[i - 1]) return;
      offset_ -= shape_.stride[i - 1] * shape_.count[i - 1];
      index_[i - 1] = 0;
    }
  }

 private:
  const RunShape& shape_;
  std::array<std::uint64_t, kTensorRankMax> index_{};
  std::uint64_t offset_ = 0;
};

/// visit(offset in the view, offset in the part, bytes) for each run of the part.
template <class Visit>
void for_each_run_of(const TensorDesc& desc, std::uint64_t offset, std::uint64_t bytes,
                     Visit visit) {
  if (bytes == 0) return;
  const RunShape shape = runs_of(desc);
  ECHELON_CHECK(shape.run_bytes != 0, bytes);
  RunCursor cursor(shape, offset / shape.run_bytes);
  std::uint64_t into = offset % shape.run_bytes;
  for (std::uint64_t done = 0; done < bytes; cursor.next()) {
    const std::uint64_t run = std::min(shape.run_bytes - into, bytes - done);
    visit(cursor.offset() + into, done, run);
    done += run;
    into = 0;
  }
}

}  // namespace

void gather_range(const TensorDesc& desc, const std::byte* from, std::uint64_t offset,
                  std::span<std::byte> dense) {
  for_each_run_of(desc, offset, dense.size(), [&](auto view, auto part, auto bytes) {
    std::memcpy(dense.data() + part, from + view, bytes);
  });
}

void scatter_range(const TensorDesc& desc, std::uint64_t offset, std::span<const std::byte> dense,
                   std::byte* to) {
  for_each_run_of(desc, offset, dense.size(), [&](auto view, auto part, auto bytes) {
    std::memcpy(to + view, dense.data() + part, bytes);
  });
}

void scatter_parts(const TensorDesc& desc, std::uint64_t offset, std::span<const std::byte> first,
                   std::span<const std::span<const std::byte>> more, std::byte* to) {
  scatter_range(desc, offset, first, to);
  offset += first.size();
  for (const auto part : more) {
    scatter_range(desc, offset, part, to);
    offset += part.size();
  }
}

}  // namespace echelon
