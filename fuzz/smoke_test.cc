// SPDX-License-Identifier: Apache-2.0
//
// Every fuzz target on its seeds and on many changes of them, the same ones each time: no search,
// as libFuzzer's, but part of every build, with and without sanitizers.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "target.h"

namespace echelon::fuzz {
namespace {

constexpr int kRounds = 10'000;
constexpr std::size_t kBytesMax = 4096;

class Changes {
 public:
  explicit Changes(std::uint64_t seed) : random_(seed) {}

  Seed of(const std::vector<Seed>& seeds) {
    Seed bytes = seeds[below(seeds.size())];
    for (std::size_t i = 0, count = 1 + below(4); i < count; ++i) change(bytes, seeds);
    return bytes;
  }

 private:
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void change(Seed& bytes, const std::vector<Seed>& seeds) {
    const std::size_t at = below(bytes.size());
    switch (below(bytes.empty() ? 1 : 6)) {
      case 0: {  // another seed's end, or something of it, from here on
        const Seed& other = seeds[below(seeds.size())];
        bytes.resize(at);
        bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(below(other.size())),
                     other.end());
        break;
      }
      case 1:
        bytes.resize(at);
        break;
      case 2:
        bytes[at] ^= static_cast<std::byte>(1u << below(8));
        break;
      case 3:
        bytes[at] = std::byte{0xFF};
        break;
      case 4:
        bytes[at] = std::byte{0};
        break;
      default:
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), 1 + below(16), {});
    }
    bytes.resize(std::min(bytes.size(), kBytesMax));
  }

  std::mt19937_64 random_;
};

class FuzzTargets : public testing::TestWithParam<Target> {};

TEST_P(FuzzTargets, TakeTheirSeedsAndChangesOfThem) {
  const std::vector<Seed> seeds = GetParam().seeds();
  ASSERT_FALSE(seeds.empty());
  GetParam().run({});
  for (const Seed& seed : seeds) GetParam().run(seed);
  Changes changes(20260211);
  for (int i = 0; i < kRounds; ++i) GetParam().run(changes.of(seeds));
}

INSTANTIATE_TEST_SUITE_P(All, FuzzTargets, testing::ValuesIn(all_targets()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(FuzzTargetsDeath, TheCanaryIsFound) {
  const Target* canary = find_target("canary");
  ASSERT_NE(canary, nullptr);
  EXPECT_DEATH(canary->run(bytes_of("FUZZ")), "");
}

TEST(FuzzInputs, MessagesArePackedAndUnpacked) {
  const std::vector<Seed> messages = {seed_of(bytes_of("one")), {}, seed_of(bytes_of("three"))};
  const Seed packed = pack(messages);
  const std::vector<Bytes> unpacked = unpack(packed);
  ASSERT_EQ(unpacked.size(), messages.size());
  for (std::size_t i = 0; i < messages.size(); ++i) EXPECT_EQ(seed_of(unpacked[i]), messages[i]);
}

}  // namespace
}  // namespace echelon::fuzz
