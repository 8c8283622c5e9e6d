// SPDX-License-Identifier: Apache-2.0
//
// SHA-256, incremental (OpenSSL's).
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace echelon {

using Digest = std::array<std::byte, 32>;

/// Threads: an object is one thread's.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  /// The digest of all that was given; the object then starts anew.
  Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest sha256(std::span<const std::byte> bytes);
Digest sha256(std::string_view text);

/// 64 lower-case hexadecimal digits.
std::string to_hex(const Digest& digest);

}  // namespace echelon
