// SPDX-License-Identifier: Apache-2.0
//
// ByteWriter, ByteReader: little-endian, fixed width, bounded. Both remember the first overrun
// (`ok()` turns false and stays so) instead of failing call by call; a codec asks once at its end.
//
// Threads: an object is one thread's. Ownership: both view memory of the caller's.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace echelon {

static_assert(
    std::endian::native == std::endian::little,
    "the wire is little-endian and is copied as it lies; a big-endian host needs swaps here");

class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> out) : out_(out) {}

  /// Integers and enums, as wide as their type.
  template <class T>
  void put(T value) {
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    if (std::byte* at = take(sizeof(T)); at != nullptr) std::memcpy(at, &value, sizeof(T));
  }
  void put_bytes(std::span<const std::byte> bytes) {
    std::byte* at = take(bytes.size());
    if (at != nullptr && !bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
  }
  void put_text(std::string_view text) { put_bytes(std::as_bytes(std::span(text))); }
  void put_zeros(std::size_t count) {
    std::byte* at = take(count);
    if (at != nullptr && count != 0) std::memset(at, 0, count);
  }

  /// The next `count` bytes, counted as written, for the caller to fill; empty after an overrun.
  std::span<std::byte> claim(std::size_t count) {
    std::byte* at = take(count);
    return at != nullptr ? std::span(at, count) : std::span<std::byte>();
  }

  bool ok() const { return ok_; }
  std::size_t size() const { return size_; }
  std::size_t remaining() const { return out_.size() - size_; }
  std::span<std::byte> unwritten() const { return out_.subspan(size_); }
  /// What has been written so far.
  std::span<std::byte> written() const { return out_.first(size_); }

 private:
  std::byte* take(std::size_t bytes) {
    if (!ok_ || bytes > remaining()) {
      ok_ = false;
      return nullptr;
    }
    std::byte* at = out_.data() + size_;
    size_ += bytes;
    return at;
  }

  std::span<std::byte> out_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> in) : in_(in) {}

  /// The next value; zero once the reader has overrun.
  template <class T>
  T get() {
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    T value{};
    if (const std::byte* at = take(sizeof(T)); at != nullptr) std::memcpy(&value, at, sizeof(T));
    return value;
  }
  /// The next `count` bytes, a view of the input; empty once the reader has overrun.
  std::span<const std::byte> bytes(std::size_t count) {
    const std::byte* at = take(count);
    return at != nullptr ? std::span(at, count) : std::span<const std::byte>();
  }
  std::string_view text(std::size_t count) {
    const auto view = bytes(count);
    return {reinterpret_cast<const char*>(view.data()), view.size()};
  }

  bool ok() const { return ok_; }
  std::size_t remaining() const { return in_.size() - at_; }
  /// What has not been read yet.
  std::span<const std::byte> rest() const { return in_.subspan(at_); }

 private:
  const std::byte* take(std::size_t bytes) {
    if (!ok_ || bytes > remaining()) {
      ok_ = false;
      return nullptr;
    }
    const std::byte* at = in_.data() + at_;
    at_ += bytes;
    return at;
  }

  std::span<const std::byte> in_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace echelon
