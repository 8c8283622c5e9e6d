// SPDX-License-Identifier: Apache-2.0
#include "remote/descriptors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(DescriptorsTest, EnoughIsEnough) {
  EXPECT_TRUE(check_descriptors(kDescriptorsOfSession).ok());
}

TEST(DescriptorsTest, TooFewIsAnErrorWithTheNumbersAndWhatToDo) {
  const Status few = check_descriptors(descriptor_limit());
  EXPECT_EQ(few.reason(), Reason::kExhausted);
  EXPECT_THAT(few.info().message, AllOf(HasSubstr(std::to_string(descriptor_limit())),
                                        HasSubstr("ulimit -n"), HasSubstr("LimitNOFILE=")));
}

}  // namespace
}  // namespace echelon
