// SPDX-License-Identifier: Apache-2.0
//
// How the connections of lanes are set up, at both ends, and what is said where one fails.
#pragma once

#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <string>
#include <string_view>

#include "base/status.h"
#include "remote/transport.h"

namespace echelon {

/// In the metadata of lanes, both ways: "MAJOR.MINOR".
inline constexpr const char* kProtocolKey = "echelon-protocol";
inline constexpr const char* kTokenKey = "echelon-token";

/// "1.0": this build's.
std::string protocol_version();
/// Errors: kSystem, both versions named, where `theirs` is of another major version or is none.
/// `who` begins the sentence: "the session at host7:9".
Status check_protocol_version(std::string_view theirs, std::string_view who);

/// Errors: kBadArgument for what cannot be a token.
Status check_lane_token(std::string_view token);

/// How long a connection lives on which nothing is heard: asked after `every`, given up after
/// `patience` more. What was sent and not acknowledged has `patience`, too (TCP_USER_TIMEOUT).
struct Keepalive {
  std::chrono::milliseconds every;
  std::chrono::milliseconds patience;
};
/// Never ends what a limit of the session's, health_deadline or lease, still waits for: these have
/// the say, and this ends what they do not see, as connections cut half.
Keepalive keepalive_for(std::chrono::nanoseconds silent_max);

/// A connection of its own, without a proxy; a dead peer is noticed.
grpc::ChannelArguments lane_channel_arguments(std::chrono::nanoseconds silent_max);
void set_lane_options(grpc::ServerBuilder& builder, std::chrono::nanoseconds silent_max);

/// Why a call to `address` ended, in our words, with gRPC's behind them.
Status call_error(const grpc::Status& status, std::string_view address,
                  const Credentials& credentials);

}  // namespace echelon
