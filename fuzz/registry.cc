// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "target.h"

namespace echelon::fuzz {
namespace {

/// What a fuzzer that works finds at once, so that one that finds nothing is believed.
constexpr Target kCanary{"canary", "crashes on inputs that begin with FUZ",
                         [](Bytes input) {
                           constexpr std::string_view kMagic = "FUZ";
                           if (input.size() < kMagic.size()) return;
                           for (std::size_t i = 0; i < kMagic.size(); ++i) {
                             if (input[i] != static_cast<std::byte>(kMagic[i])) return;
                           }
                           std::abort();
                         },
                         [] { return std::vector<Seed>{seed_of(bytes_of("FU"))}; }};

}  // namespace

std::vector<Target> all_targets() {
  std::vector<Target> all;
  for (const auto some : {codec_targets(), lane_targets(), session_targets()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

const Target* find_target(std::string_view name) {
  static const std::vector<Target> kAll = all_targets();
  if (name == kCanary.name) return &kCanary;
  const auto found =
      std::find_if(kAll.begin(), kAll.end(), [&](const Target& one) { return name == one.name; });
  return found == kAll.end() ? nullptr : &*found;
}

Seed pack(const std::vector<Seed>& messages) {
  Seed packed;
  for (const Seed& message : messages) {
    const auto size = static_cast<std::uint16_t>(message.size());
    const auto head = std::as_bytes(std::span(&size, 1));
    packed.insert(packed.end(), head.begin(), head.end());
    packed.insert(packed.end(), message.begin(), message.end());
  }
  return packed;
}

std::vector<Bytes> unpack(Bytes input) {
  std::vector<Bytes> messages;
  std::uint16_t size = 0;
  while (input.size() >= sizeof size) {
    std::memcpy(&size, input.data(), sizeof size);
    input = input.subspan(sizeof size);
    messages.push_back(input.first(std::min<std::size_t>(size, input.size())));
    input = input.subspan(messages.back().size());
  }
  return messages;
}

}  // namespace echelon::fuzz
