// SPDX-License-Identifier: Apache-2.0
//
// Random numbers that are the same everywhere: SplitMix64 (Steele, Lea, Flood: Fast Splittable
// Pseudorandom Number Generators, 2014). The standard library's distributions and shuffle differ
// between implementations.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace echelon::digits {

/// A value; copies continue alike.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// 0..bound-1, each equally likely. REQUIRES: bound > 0
  std::uint64_t below(std::uint64_t bound) {
    const std::uint64_t uneven = (0 - bound) % bound;  // 2^64 modulo bound
    std::uint64_t value = next();
    while (value < uneven) value = next();
    return value % bound;
  }
  /// In [-1, 1), on a grid of 2^-23.
  float symmetric() {
    return static_cast<float>(static_cast<std::int64_t>(next() >> 40) - (1 << 23)) * 0x1p-23f;
  }

 private:
  std::uint64_t state_;
};

/// The numbers 0..count-1 in an order that `seed` and `stream` decide.
inline std::vector<std::int32_t> permutation(std::int64_t count, std::uint64_t seed,
                                             std::uint64_t stream) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  Random random(Random(seed).next() ^ stream);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace echelon::digits
