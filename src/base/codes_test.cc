// SPDX-License-Identifier: Apache-2.0
#include <echelon/codes.h>
#include <echelon/dtype.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace echelon {
namespace {

template <class Enum>
void expect_names_up_to(Enum last) {
  std::set<std::string_view> names;
  for (unsigned value = 0; value <= static_cast<unsigned>(last); ++value) {
    const std::string_view name = to_string(static_cast<Enum>(value));
    EXPECT_EQ(name.find("invalid "), name == "invalid argument" ? 0u : std::string_view::npos);
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  const std::string_view beyond = to_string(static_cast<Enum>(static_cast<unsigned>(last) + 1));
  EXPECT_EQ(beyond.substr(0, 7), "invalid");
}

TEST(Codes, EveryCodeHasItsName) {
  expect_names_up_to(Code::kUnauthenticated);
}
TEST(Codes, EveryReasonHasItsName) {
  expect_names_up_to(kReasonLast);
}
TEST(Codes, EveryPhaseHasItsName) {
  expect_names_up_to(kPhaseLast);
}
TEST(Codes, EveryCauseHasItsName) {
  expect_names_up_to(kCauseLast);
}

TEST(DTypes, EveryDTypeHasItsName) {
  expect_names_up_to(static_cast<DType>(kDTypeLast));
}

TEST(DTypes, SizesFollowNames) {
  EXPECT_EQ(size_of(DType::kNone), 0u);
  EXPECT_EQ(size_of(DType::kBFloat16), 2u);
  EXPECT_EQ(size_of(DType::kFloat32), 4u);
  EXPECT_EQ(size_of(DType::kInt64), 8u);
  EXPECT_EQ(size_of(static_cast<DType>(200)), 0u);
}

TEST(DTypes, CxxTypesHaveTheirs) {
  EXPECT_EQ(dtype_of<const float>(), DType::kFloat32);
  EXPECT_EQ(dtype_of<bool>(), DType::kBool);
  EXPECT_EQ(dtype_of<unsigned char>(), DType::kUInt8);
  EXPECT_EQ(dtype_of<long long>(), DType::kInt64);
}

}  // namespace
}  // namespace echelon
