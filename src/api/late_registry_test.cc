// SPDX-License-Identifier: Apache-2.0
#include "api/late_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace echelon::detail {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

LateRegistry::Wanted wanted(const std::string& name, const std::string& identity,
                            std::uint64_t owner = 1) {
  return {owner, RegisteredKind::kSub, name, true, identity};
}

class LateRegistryTest : public testing::Test {
 protected:
  CallableRef add(const std::string& name, const std::string& identity) {
    const auto claim = book.claim(wanted(name, identity));
    EXPECT_TRUE(claim.ok() && !claim->known);
    book.settle(claim->ref, true, {}, 0);
    return claim->ref;
  }
  LateRegistry book;
};

TEST_F(LateRegistryTest, TheSameContentIsCounted) {
  const CallableRef first = add("a", "content");
  const auto again = book.claim(wanted("b", "content"));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->known);
  EXPECT_EQ(again->ref.serial, first.serial);
  EXPECT_FALSE(book.drop(first, 0)->last);
  EXPECT_TRUE(book.drop(first, 0)->last);
  EXPECT_EQ(book.drop(first, 0).status().reason(), Reason::kStaleHandle);
}

TEST_F(LateRegistryTest, OfAnotherWorkerItIsAnother) {
  const CallableRef first = add("a", "content");
  const auto other = book.claim(wanted("a", "content", 2));
  ASSERT_TRUE(other.ok());
  EXPECT_FALSE(other->known);
  EXPECT_NE(other->ref.number, first.number);
}

TEST_F(LateRegistryTest, AGivenNameStandsForOneContent) {
  const CallableRef first = add("a", "content");
  EXPECT_EQ(book.claim(wanted("a", "other")).status().code(), Code::kAlreadyExists);
  LateRegistry::Wanted made_up = wanted("a", "other");
  made_up.name_given = false;
  EXPECT_TRUE(book.claim(made_up).ok());
  EXPECT_TRUE(book.drop(first, 0).ok());
  EXPECT_TRUE(book.claim(wanted("a", "third")).ok());
}

TEST_F(LateRegistryTest, ASlotComesAgainOnlyOnceItIsForgotten) {
  const CallableRef first = add("a", "content");
  ASSERT_TRUE(book.drop(first, 0).ok());
  const CallableRef second = add("b", "other");
  EXPECT_NE(second.number, first.number);
  book.forget(first);
  const CallableRef third = add("c", "third");
  EXPECT_EQ(third.number, first.number);
  EXPECT_NE(third.serial, first.serial);
  // The old handle means nothing any more.
  EXPECT_FALSE(book.drop(first, 0).ok());
  book.forget(first);
  EXPECT_TRUE(book.drop(third, 0).ok());
}

TEST_F(LateRegistryTest, AFailureLeavesNothingButADoubtUntilItIsForgotten) {
  const auto claim = book.claim(wanted("a", "content"));
  book.settle(claim->ref, false, {"pod0/host0"}, 0);
  ASSERT_EQ(book.doubts(0).size(), 1u);
  EXPECT_EQ(book.doubts(0)[0].name, "a");
  EXPECT_THAT(book.doubts(0)[0].silent, ElementsAre("pod0/host0"));
  const auto next = book.claim(wanted("a", "other"));
  ASSERT_TRUE(next.ok());
  EXPECT_NE(next->ref.number, claim->ref.number);
  book.forget(claim->ref);
  EXPECT_THAT(book.doubts(0), IsEmpty());
}

TEST_F(LateRegistryTest, AConfirmationThatIsLongInComingIsADoubt) {
  const CallableRef first = add("a", "content");
  ASSERT_TRUE(book.drop(first, 1000).ok());
  EXPECT_THAT(book.doubts(999 + LateRegistry::kDoubtAfterNs), IsEmpty());
  EXPECT_EQ(book.doubts(1000 + LateRegistry::kDoubtAfterNs).size(), 1u);
}

TEST_F(LateRegistryTest, WhoeverWantsWhatIsBeingRegisteredWaitsForIt) {
  const auto first = book.claim(wanted("a", "content"));
  std::uint64_t got = 0;
  std::jthread second([&] { got = book.claim(wanted("a", "content"))->ref.serial; });
  book.settle(first->ref, true, {}, 0);
  second.join();
  EXPECT_EQ(got, first->ref.serial);
}

TEST_F(LateRegistryTest, WhoeverWaitedForAFailureTriesItself) {
  const auto first = book.claim(wanted("a", "content"));
  bool known = true;
  std::jthread second([&] { known = book.claim(wanted("a", "content"))->known; });
  book.settle(first->ref, false, {}, 0);
  second.join();
  EXPECT_FALSE(known);
}

TEST_F(LateRegistryTest, HoldsWhatIsRegisteredAndNothingElse) {
  const auto claim = book.claim(wanted("a", "content"));
  EXPECT_FALSE(book.holds(claim->ref));
  book.settle(claim->ref, true, {}, 0);
  EXPECT_TRUE(book.holds(claim->ref));
  ASSERT_TRUE(book.drop(claim->ref, 0).ok());
  EXPECT_FALSE(book.holds(claim->ref));
  const CallableRef of_the_last_tree = add("b", "other content");
  book.clear();
  EXPECT_FALSE(book.holds(of_the_last_tree));
}

TEST_F(LateRegistryTest, SerialsGoOnWhenTheTreeEnds) {
  const CallableRef first = add("a", "content");
  book.clear();
  const CallableRef second = add("a", "content");
  EXPECT_EQ(second.number, first.number);
  EXPECT_GT(second.serial, first.serial);
}

}  // namespace
}  // namespace echelon::detail
