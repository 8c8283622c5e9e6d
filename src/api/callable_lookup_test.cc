// SPDX-License-Identifier: Apache-2.0
#include "api/callable_lookup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace echelon::detail {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kRoot = 1, kHere = 2, kElsewhere = 3;

Callable named(TaskKind kind, const std::string& name) {
  Callable callable;
  callable.kind = kind;
  callable.name = name;
  return callable;
}

/// A Worker below a root.
class LookUp : public testing::Test {
 protected:
  CallableRef add(Registrations& worker, TaskKind kind, const std::string& name) {
    return worker.add(named(kind, name)).value();
  }
  void add_late(std::uint32_t index, std::uint64_t owner, const std::string& name) {
    ASSERT_TRUE(late.insert(CallableSlot{kFirstLateSlot + index}, 100 + index, owner,
                            named(TaskKind::kSub, name))
                    .ok());
  }
  Result<CallableRef> find(TaskKind kind, const std::string& name) {
    const CallableTable above(nullptr, root);
    const CallableTable table(&above, here);
    return look_up(table, late, kind, name, "pod0/host0");
  }

  Registrations root{kRoot};
  Registrations here{kHere};
  LateTable late;
};

TEST_F(LookUp, FindsWhatThisWorkerAndThoseAboveHaveRegistered) {
  add(root, TaskKind::kChip, "other");
  const CallableRef above = add(root, TaskKind::kSub, "above");
  const CallableRef own = add(here, TaskKind::kSub, "own");
  EXPECT_EQ(find(TaskKind::kSub, "above")->owner, kRoot);
  EXPECT_EQ(find(TaskKind::kSub, "above")->number, above.number);
  EXPECT_EQ(find(TaskKind::kSub, "own")->owner, kHere);
  EXPECT_EQ(find(TaskKind::kSub, "own")->number, own.number);
}

TEST_F(LookUp, FindsWhatCameWhileTheTreeRuns) {
  add_late(300, kRoot, "late");
  EXPECT_EQ(find(TaskKind::kSub, "late")->owner, kRoot);
  EXPECT_EQ(find(TaskKind::kSub, "late")->number, kFirstLateSlot + 300);
  EXPECT_EQ(find(TaskKind::kSub, "late")->serial, 400u);
}

TEST_F(LookUp, WhatWasUnregisteredIsNotFound) {
  add_late(0, kRoot, "late");
  ASSERT_TRUE(late.close(CallableSlot{kFirstLateSlot}, 100));
  EXPECT_EQ(find(TaskKind::kSub, "late").status().code(), Code::kNotFound);
}

TEST_F(LookUp, TheNearestWorkersComesFirst) {
  add(root, TaskKind::kSub, "both");
  add(here, TaskKind::kSub, "both");
  add_late(0, kRoot, "late at the top, too");
  add(here, TaskKind::kSub, "late at the top, too");
  EXPECT_EQ(find(TaskKind::kSub, "both")->owner, kHere);
  EXPECT_EQ(find(TaskKind::kSub, "late at the top, too")->owner, kHere);
}

TEST_F(LookUp, ANameIsOfOneKind) {
  add(root, TaskKind::kSub, "name");
  const CallableRef orch = add(here, TaskKind::kOrch, "name");
  EXPECT_EQ(find(TaskKind::kOrch, "name")->owner, orch.owner);
  EXPECT_EQ(find(TaskKind::kSub, "name")->owner, kRoot);
  EXPECT_EQ(find(TaskKind::kChip, "name").status().code(), Code::kNotFound);
}

TEST_F(LookUp, TwoOfOneWorkerAreRefused) {
  add_late(0, kRoot, "twice");
  add_late(1, kRoot, "twice");
  EXPECT_THAT(find(TaskKind::kSub, "twice").status().info().message,
              HasSubstr("2 callables of one Worker have this name"));
}

TEST_F(LookUp, TwoOfAWorkerFurtherAwayDoNotMatter) {
  add_late(0, kElsewhere, "twice");
  add_late(1, kElsewhere, "twice");
  add(root, TaskKind::kSub, "twice");
  EXPECT_EQ(find(TaskKind::kSub, "twice")->owner, kRoot);
}

TEST_F(LookUp, WhatIsNotFoundIsToldWithTheNamesThatThereAre) {
  add(root, TaskKind::kSub, "b");
  add(here, TaskKind::kSub, "a");
  add(here, TaskKind::kChip, "no sub");
  add_late(0, kRoot, "c");
  EXPECT_EQ(find(TaskKind::kSub, "x").status().info().message,
            "find_sub(\"x\"): none is registered under this name on pod0/host0 or on a Worker "
            "above it; there are \"a\", \"b\", \"c\"");
  EXPECT_THAT(find(TaskKind::kOrch, "x").status().info().message,
              HasSubstr("there is none at all"));
}

}  // namespace
}  // namespace echelon::detail
