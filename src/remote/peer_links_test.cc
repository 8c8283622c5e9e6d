// SPDX-License-Identifier: Apache-2.0
//
// Two sessions' ends of a link, and what the one that is written to lets the other do.
#include "remote/peer_links.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "remote/sim/sim_lanes.h"
#include "remote/testing/session_rig.h"

namespace echelon {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kLink = 77;
constexpr std::uint64_t kGrant = 5;

/// A session as its parent orders it about.
struct End {
  explicit End(Uid pool) : memory(pool), links(memory, [] {}) {}

  TensorDesc tensor(std::int64_t bytes, std::byte value) {
    const std::array shape{bytes};
    const TensorDesc desc = memory.allocate(shape, DType::kUInt8, true).value();
    std::byte* const at = memory.open(desc, Access::kWrite).value();
    std::fill_n(at, bytes, value);
    return desc;
  }
  std::byte first(const TensorDesc& desc) { return *memory.open(desc, Access::kRead).value(); }

  /// The answer to it.
  Status order(DataMessage message, const std::string& behind = {}) {
    const std::uint64_t request = message.request = ++last;
    message.bytes = std::as_bytes(std::span(behind));
    if (Status taken = links.take(message); !taken.ok()) return taken;
    for (;;) {
      for (const PeerLinks::Answer& answer : links.take_answers()) {
        if (answer.request == request) return answer.status;
      }
      std::this_thread::yield();
    }
  }

  TestMemory memory;
  PeerLinks links;
  std::uint64_t last = 0;
};

DataMessage message_of(DataKind kind) {
  DataMessage message;
  message.kind = kind;
  message.offset = kLink;
  return message;
}

class PeerLinksTest : public testing::Test {
 protected:
  PeerLinksTest() {
    PeerPlace to_be_reached;
    to_be_reached.expect = [this](const std::string& token, std::uint64_t link,
                                  std::chrono::nanoseconds life) {
      EXPECT_EQ(link, kLink);
      EXPECT_EQ(life, kPeerTokenLife);
      const std::lock_guard lock(mutex);
      expected = token;
      return Status();
    };
    to.links.set_place(std::move(to_be_reached));
    PeerPlace reaching;
    reaching.connect = [this](const std::string& address, const std::string& token,
                              LaneOptions options) -> Result<std::unique_ptr<Lane>> {
      const std::lock_guard lock(mutex);
      if (address != "there" || token != expected) {
        return Status::error(Code::kUnavailable, Reason::kSystem, "nobody at " + address);
      }
      SimLanes pair = make_sim_lanes(std::move(options), to.links.lane_options());
      to.links.accept(kLink, std::move(pair.b));
      return std::move(pair.a);
    };
    from.links.set_place(std::move(reaching));
  }

  Status expect() { return to.order(message_of(DataKind::kExpect), "token"); }
  Status connect(const std::string& address = "there", const std::string& token = "token") {
    DataMessage message = message_of(DataKind::kConnect);
    message.length = address.size();
    return from.order(message, address + token);
  }
  Status grant(const TensorDesc& tensor, std::uint64_t id = kGrant) {
    DataMessage message = message_of(DataKind::kGrant);
    message.length = id;
    message.tensor = tensor;
    return to.order(message);
  }
  Status revoke(std::uint64_t id = kGrant) {
    DataMessage message = message_of(DataKind::kRevoke);
    message.length = id;
    return to.order(message);
  }
  Status push(const TensorDesc& source, const TensorDesc& target) {
    DataMessage message = message_of(DataKind::kPush);
    message.tensor = source;
    std::string behind(target.wire_bytes(), '\0');
    encode(target, Tag::kOutput, std::as_writable_bytes(std::span(behind)));
    return from.order(message, behind);
  }
  void open() {
    ASSERT_EQ(expect().to_string(), Status().to_string());
    ASSERT_EQ(connect().to_string(), Status().to_string());
  }

  std::mutex mutex;
  std::string expected;
  // The one that is connected to goes last: what connects to it has ended by then.
  End to{Uid{2}};
  End from{Uid{1}};
};

TEST_F(PeerLinksTest, WhatWasGrantedIsWritten) {
  open();
  constexpr std::int64_t kBytes = 3 * std::int64_t{kPieceBytes} + 17;
  const TensorDesc source = from.tensor(kBytes, std::byte{9});
  const TensorDesc target = to.tensor(kBytes, std::byte{0});
  ASSERT_TRUE(grant(target).ok());
  EXPECT_EQ(push(source, target).to_string(), Status().to_string());
  const std::byte* const at = to.memory.open(target, Access::kRead).value();
  EXPECT_EQ(std::vector<std::byte>(at, at + kBytes),
            std::vector<std::byte>(static_cast<std::size_t>(kBytes), std::byte{9}));
}

TEST_F(PeerLinksTest, WhatWasNotGrantedIsNot) {
  open();
  const TensorDesc source = from.tensor(8, std::byte{9});
  const TensorDesc granted = to.tensor(8, std::byte{0});
  const TensorDesc other = to.tensor(8, std::byte{0});
  ASSERT_TRUE(grant(granted).ok());
  const Status refused = push(source, other);
  EXPECT_EQ(refused.reason(), Reason::kForeignHandle);
  EXPECT_THAT(refused.info().message, HasSubstr("has not granted"));
  EXPECT_EQ(to.first(other), std::byte{0});
  // And both go on.
  EXPECT_TRUE(push(source, granted).ok());
}

TEST_F(PeerLinksTest, APartOfWhatWasGrantedIsAnotherTensor) {
  open();
  const TensorDesc granted = to.tensor(8, std::byte{0});
  ASSERT_TRUE(grant(granted).ok());
  TensorDesc part = granted;
  part.extent[0] = 4;
  EXPECT_EQ(push(from.tensor(4, std::byte{9}), part).reason(), Reason::kForeignHandle);
}

TEST_F(PeerLinksTest, WhatWasRevokedIsNotWrittenAnyMore) {
  open();
  const TensorDesc source = from.tensor(8, std::byte{9});
  const TensorDesc target = to.tensor(8, std::byte{0});
  ASSERT_TRUE(grant(target).ok());
  ASSERT_TRUE(revoke().ok());
  EXPECT_EQ(push(source, target).reason(), Reason::kForeignHandle);
  EXPECT_EQ(to.first(target), std::byte{0});
}

TEST_F(PeerLinksTest, AStaleSourceIsAnError) {
  open();
  const TensorDesc source = from.tensor(8, std::byte{9});
  const TensorDesc target = to.tensor(8, std::byte{0});
  ASSERT_TRUE(grant(target).ok());
  ASSERT_TRUE(from.memory.free(source.buffer).ok());
  EXPECT_EQ(push(source, target).reason(), Reason::kStaleHandle);
}

TEST_F(PeerLinksTest, AStaleTargetIsRefusedWhereItIsGranted) {
  open();
  const TensorDesc target = to.tensor(8, std::byte{0});
  ASSERT_TRUE(to.memory.free(target.buffer).ok());
  EXPECT_EQ(grant(target).reason(), Reason::kStaleHandle);
}

TEST_F(PeerLinksTest, OtherSizesAreRefused) {
  open();
  const TensorDesc target = to.tensor(8, std::byte{0});
  ASSERT_TRUE(grant(target).ok());
  EXPECT_EQ(push(from.tensor(9, std::byte{9}), target).reason(), Reason::kWrongType);
}

TEST_F(PeerLinksTest, WhatCannotBeReachedIsSaid) {
  ASSERT_TRUE(expect().ok());
  EXPECT_THAT(connect("elsewhere").info().message, HasSubstr("nobody at elsewhere"));
  // Nothing is left of it: the same link can be tried again.
  EXPECT_TRUE(connect().ok());
}

TEST_F(PeerLinksTest, WithoutALinkNothingIsPushed) {
  EXPECT_EQ(push(from.tensor(8, std::byte{9}), to.tensor(8, std::byte{0})).reason(),
            Reason::kWrongState);
  EXPECT_EQ(grant(to.tensor(8, std::byte{0})).reason(), Reason::kWrongState);
}

TEST_F(PeerLinksTest, APeerMayDoNothingElse) {
  ASSERT_TRUE(expect().ok());
  SimLanes pair = make_sim_lanes({}, to.links.lane_options());
  to.links.accept(kLink, std::move(pair.b));
  DataMessage message;
  message.kind = DataKind::kAllocate;
  message.dtype = DType::kUInt8;
  ASSERT_EQ(send_data(*pair.a, message), LaneSend::kSent);
  struct Ended final : LaneEvents {
    void on_message(std::span<const std::byte>) override { ADD_FAILURE() << "an answer"; }
    void on_down(const Status& status) override { why = status; }
    Status why;
  } ended;
  while (ended.why.ok()) {
    pair.a->poll(ended);
    std::this_thread::yield();
  }
  EXPECT_THAT(ended.why.info().message, HasSubstr("\"allocate\" from a peer"));
}

}  // namespace
}  // namespace echelon
