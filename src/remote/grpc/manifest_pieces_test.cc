// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/manifest_pieces.h"

#include <echelon/v1/session.pb.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "remote/manifest.h"

namespace echelon {
namespace {

using testing::HasSubstr;

v1::SessionManifest manifest_of(std::size_t bytes) {
  v1::SessionManifest manifest;
  manifest.set_protocol_major(kRemoteProtocolMajor);
  manifest.add_libraries()->set_payload(std::string(bytes, 'l'));
  return manifest;
}

v1::ManifestPiece piece(std::uint64_t total, std::size_t bytes) {
  v1::ManifestPiece made;
  made.set_protocol_major(kRemoteProtocolMajor);
  made.set_total_bytes(total);
  made.set_bytes(std::string(bytes, 'p'));
  return made;
}

TEST(ManifestPiecesTest, ASmallOneIsOneMessage) {
  ManifestPieces pieces;
  v1::OpenSessionRequest request;
  ASSERT_TRUE(pieces.begin(manifest_of(100), "pod0/a", request).ok());
  EXPECT_TRUE(request.has_manifest());
  EXPECT_FALSE(pieces.next(request));
}

TEST(ManifestPiecesTest, ALargeOneArrivesWholeAndIsCountedUntilItIsLetGo) {
  const v1::SessionManifest sent = manifest_of(5 * kManifestPieceBytesMax / 2);
  ManifestPieces pieces;
  v1::OpenSessionRequest request;
  ASSERT_TRUE(pieces.begin(sent, "pod0/a", request).ok());
  ManifestBudget budget(kManifestBytesMax);
  ManifestAssembly assembly(budget);
  int count = 1;
  while (!assembly.add(request.piece()).value()) {
    request.Clear();
    ASSERT_TRUE(pieces.next(request));
    ++count;
  }
  EXPECT_EQ(count, 3);
  EXPECT_FALSE(pieces.next(request));
  v1::SessionManifest came;
  ASSERT_TRUE(
      came.ParseFromArray(assembly.bytes().data(), static_cast<int>(assembly.bytes().size())));
  EXPECT_EQ(came.libraries(0).payload(), sent.libraries(0).payload());
  EXPECT_EQ(budget.in_use(), sent.ByteSizeLong());
  assembly.clear();
  EXPECT_EQ(budget.in_use(), 0u);
}

TEST(ManifestPiecesTest, MoreThanTheBudgetOfAllTogetherIsRefusedAndHoldsNothing) {
  ManifestBudget budget(3'000'000);
  ManifestAssembly first(budget);
  ASSERT_TRUE(first.add(piece(2'500'000, 1'000'000)).ok());
  ASSERT_TRUE(first.add(piece(2'500'000, 1'000'000)).ok());
  {
    ManifestAssembly second(budget);
    ASSERT_TRUE(second.add(piece(2'000'000, 1'000'000)).ok());
    const Status full = second.add(piece(2'000'000, 1'000'000)).status();
    EXPECT_EQ(full.reason(), Reason::kExhausted);
    EXPECT_THAT(full.info().message, HasSubstr("3000000 may be at once (--memory)"));
    EXPECT_EQ(budget.in_use(), 2'000'000u);
  }
  EXPECT_TRUE(first.add(piece(2'500'000, 500'000)).value()) << "and the other goes on";
}

TEST(ManifestPiecesTest, WhatIsNoPieceOfItIsRefused) {
  ManifestBudget budget(kManifestBytesMax);
  const auto refusal = [&](std::initializer_list<v1::ManifestPiece> pieces) {
    ManifestAssembly assembly(budget);
    Status last;
    for (const v1::ManifestPiece& one : pieces) last = assembly.add(one).status();
    return last;
  };
  EXPECT_EQ(refusal({piece(kManifestBytesMax + 1, 1)}).reason(), Reason::kTooLarge);
  EXPECT_EQ(refusal({piece(10, 11)}).reason(), Reason::kBadFrame);
  EXPECT_EQ(refusal({piece(10, 0)}).reason(), Reason::kBadFrame);
  EXPECT_EQ(refusal({piece(0, 0)}).reason(), Reason::kBadFrame);
  EXPECT_EQ(refusal({piece(10, 5), piece(12, 5)}).reason(), Reason::kBadFrame);
  EXPECT_EQ(refusal({piece(10, 5), piece(10, 6)}).reason(), Reason::kBadFrame);
  v1::ManifestPiece other = piece(10, 5);
  other.set_protocol_major(9);
  EXPECT_THAT(refusal({other}).info().message, HasSubstr("9.0"));
  EXPECT_EQ(budget.in_use(), 0u);
}

}  // namespace
}  // namespace echelon
