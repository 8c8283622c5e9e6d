// SPDX-License-Identifier: Apache-2.0
//
// KernelImage: the code of a chip kernel, as it is registered. Its bytes lie in a sealed memfd that
// is handed to chips as it is; its identity is their SHA-256.
//
// For the cpu driver an image is a shared object that exports the kernel (echelon/chip_kernel.h).
// From source it is compiled here and now with -O2 -ffp-contract=off -std=c++20 and the user's
// flags after them: without fused operations and without the machine's own instruction set, so that
// the same source gives the same results, bit for bit, on every machine.
//
// Ownership: copies share the memfd. Blocking: the factories read, compile and hash.
// Fork: the descriptor is CLOEXEC; it is not marked (base/fd.h), so every forked Worker of the tree
//   keeps it and can hand it to chips of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"

namespace echelon {

inline constexpr std::size_t kChipImageBytesMax = std::size_t{1} << 30;

/// How to compile source text.
struct CompileOptions {
  std::vector<std::string> flags;            // after ours, so that they win
  std::vector<std::string> include_folders;  // after echelon's own
  std::string file_name = "kernel.cc";       // the name that compile errors and __FILE__ show
};

class KernelImage {
 public:
  /// Errors (kImage): the file cannot be read, is no shared object of this machine's kind, or does
  /// not export `kernel`; the message names the file, the kernel and the functions that it exports.
  static Result<KernelImage> from_file(std::string path, std::string kernel);

  /// The same, of bytes; `origin` names them in errors.
  static Result<KernelImage> from_bytes(std::span<const std::byte> bytes, std::string kernel,
                                        std::string origin);

  /// Errors (kImage): no compiler (says what was looked for), the compiler's own output, or the
  /// compiled source does not export `kernel`. The compiler is chip/compile.h's.
  static Result<KernelImage> from_source(std::string_view source, std::string kernel,
                                         const CompileOptions& options = {});

  const std::string& kernel() const { return state_->kernel; }
  const std::string& origin() const { return state_->origin; }
  const Digest& digest() const { return state_->digest; }
  /// Of the image.
  std::size_t bytes() const { return state_->bytes; }
  /// Of its memory file.
  std::size_t file_bytes() const { return state_->file_bytes; }
  /// The memory file that chips get (chip/image_push.h): the image's bytes come first. Sealed
  /// against writes and changes of size. Valid while this image or a copy of it lives.
  int descriptor() const { return state_->descriptor; }

 private:
  struct State {
    ~State();
    std::string kernel, origin;
    Digest digest{};
    std::size_t bytes = 0, file_bytes = 0;
    int descriptor = -1;
  };
  explicit KernelImage(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Path of the compiler that from_source() would use: $ECHELON_CXX if it is set, else the first of
/// $CXX, c++, g++, clang++ that exists; the variables may hold arguments after the command. Errors
/// (kImage): what was looked for.
Result<std::string> find_compiler();

}  // namespace echelon
