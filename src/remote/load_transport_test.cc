// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "remote/testing/lane_rig.h"
#include "remote/transport.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

TEST(LoadTransportTest, LanesOfTheSharedObjectConnect) {
  const auto transport = load_transport("grpc");
  ASSERT_TRUE(transport.ok()) << transport.status().to_string();
  EXPECT_EQ((*transport)->name(), "grpc");
  LaneEnd a;
  LaneEnd b;
  const auto listener =
      (*transport)
          ->listen_lanes(
              {.address = "127.0.0.1:0",
               .credentials = {},
               .token = "token",
               .options = [&a](LaneRole) { return a.options(); },
               .accept = [&a](LaneRole, std::unique_ptr<Lane> lane) { a.take(std::move(lane)); }});
  ASSERT_TRUE(listener.ok()) << listener.status().to_string();
  LaneConnect where;
  where.address = (*listener)->address();
  where.token = "token";
  auto lane = (*transport)->connect_lane(where, b.options());
  ASSERT_TRUE(lane.ok()) << lane.status().to_string();
  b.take(std::move(*lane));
  ASSERT_TRUE(a.await_lane());
  EXPECT_EQ(b.send("over the shared object"), LaneSend::kSent);
  EXPECT_TRUE(a.poll_until_messages(1));
}

TEST(LoadTransportTest, ASecondTimeGivesTheSame) {
  const auto first = load_transport("grpc");
  const auto second = load_transport("grpc");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, *second);
}

TEST(LoadTransportTest, OneThatIsNotThereIsRefusedWithWhereItWasLookedFor) {
  for (const char* name : {"pigeon", "", "../grpc"}) {
    const auto transport = load_transport(name);
    ASSERT_FALSE(transport.ok()) << name;
    EXPECT_EQ(transport.status().code(), Code::kNotFound);
    EXPECT_NE(transport.status().info().message.find("lib/echelon"), std::string::npos);
  }
}

TEST(LoadTransportTest, AFileThatIsNoTransportIsRefusedInTheLoadersWords) {
  const fs::path folder =
      fs::temp_directory_path() / ("echelon-no-transport-" + std::to_string(::getpid()));
  fs::create_directory(folder);
  std::ofstream(folder / "libechelon_junk.so") << std::string(4096, 'x');
  ::setenv("ECHELON_TRANSPORT_PATH", folder.c_str(), 1);
  const auto transport = load_transport("junk");
  ::unsetenv("ECHELON_TRANSPORT_PATH");
  fs::remove_all(folder);
  ASSERT_FALSE(transport.ok());
  EXPECT_NE(transport.status().info().message.find("libechelon_junk.so"), std::string::npos);
  EXPECT_NE(transport.status().info().message.find("invalid ELF header"), std::string::npos)
      << transport.status().to_string();
}

}  // namespace
}  // namespace echelon
