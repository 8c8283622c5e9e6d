// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/channel_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "remote/grpc/control_limits.h"
#include "remote/grpc/lane_codec.h"
#include "remote/manifest.h"

namespace echelon {
namespace {

constexpr std::chrono::milliseconds kKeepaliveEvery{5'000};
constexpr std::chrono::milliseconds kKeepalivePatienceMin{5'000};
/// More is not told apart, and fits gRPC's int.
constexpr std::chrono::milliseconds kKeepalivePatienceMax = std::chrono::hours(25);
static_assert(kKeepalivePatienceMax > kSessionPatienceMax);
/// What gRPC takes from a connection that nobody reads (LANE-2, with CORE-2).
constexpr int kReadAheadBytes = 1 << 20;
constexpr int kCallsAConnectionMax = 8;
constexpr std::size_t kTokenBytesMax = 256;

struct Symptom {
  std::string_view in_message;
  std::string_view meaning;
};
// What gRPC 1.51 says, and what it means to who called.
constexpr std::array kSymptoms = {
    Symptom{"DNS resolution failed",
            "the host name does not resolve: check its spelling, or write the address as numbers"},
    Symptom{"Connection refused", "nobody listens there: is it running, and is the port right?"},
    Symptom{"No route to host", "there is no route to that host"},
    Symptom{"Network is unreachable", "there is no route to that network"},
    Symptom{"No such file or directory", "there is no such socket"},
    Symptom{"certificate verify failed",
            "its certificate is not signed by the authority in our ca.pem, or has expired"},
    Symptom{"EVP lib", "its certificate is not signed by the authority in our ca.pem"},
    Symptom{"is not in peer certificate",
            "its certificate is not made out to that host name or address: issue one that is"},
    Symptom{"wrong version number", "it does not speak TLS: one side has keys, the other has not"},
    Symptom{"andshake", "the TLS handshake failed"},
    Symptom{"http1.x server", "something else answers there, no Echelon"},
};

std::string_view meaning_of(const grpc::Status& status, const Credentials& credentials) {
  for (const Symptom& symptom : kSymptoms) {
    if (status.error_message().find(symptom.in_message) != std::string::npos) {
      return symptom.meaning;
    }
  }
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return "a gRPC server answers there, but it is no Echelon, or of another version";
  }
  return credentials.tls_dir.empty()
             ? "the connection was closed: something else answers there, or it wants TLS"
             : "the connection was closed: something else answers there, or it does not accept our "
               "certificate";
}

/// The words of our own refusals (lane_listener.cc, and the daemon's) are whole sentences.
bool is_our_words(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNAUTHENTICATED ||
         code == grpc::StatusCode::FAILED_PRECONDITION ||
         code == grpc::StatusCode::RESOURCE_EXHAUSTED || code == grpc::StatusCode::ABORTED;
}

std::optional<std::uint32_t> major_of(std::string_view version) {
  std::uint32_t major = 0;
  const char* const end = version.data() + version.size();
  const auto [at, error] = std::from_chars(version.data(), end, major);
  if (error != std::errc() || at == end || *at != '.') return std::nullopt;
  return major;
}

}  // namespace

std::string protocol_version() {
  return fmt::format("{}.{}", kRemoteProtocolMajor, kRemoteProtocolMinor);
}

Status check_protocol_version(std::string_view theirs, std::string_view who) {
  if (major_of(theirs) == kRemoteProtocolMajor) return {};
  constexpr std::size_t kShown = 32;
  return Status::error(
      Code::kFailedPrecondition, Reason::kSystem,
      fmt::format("{} speaks version {} of the protocol, and this one {}: both must be of the same "
                  "major version",
                  who, theirs.empty() ? "(none)" : theirs.substr(0, kShown), protocol_version()));
}

Status check_lane_token(std::string_view token) {
  const bool printable =
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!token.empty() && token.size() <= kTokenBytesMax && printable) return {};
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                       fmt::format("a lane's token is 1 to {} printable characters without blanks; "
                                   "this one is none",
                                   kTokenBytesMax));
}

Keepalive keepalive_for(std::chrono::nanoseconds silent_max) {
  const auto asked = std::chrono::ceil<std::chrono::milliseconds>(silent_max);
  return {kKeepaliveEvery, std::clamp(asked, kKeepalivePatienceMin, kKeepalivePatienceMax)};
}

grpc::ChannelArguments lane_channel_arguments(std::chrono::nanoseconds silent_max) {
  const Keepalive keepalive = keepalive_for(silent_max);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(keepalive.every.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(keepalive.patience.count()));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kReadAheadBytes);
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kBatchBytesMax));
  arguments.SetMaxSendMessageSize(-1);
  return arguments;
}

void set_lane_options(grpc::ServerBuilder& builder, std::chrono::nanoseconds silent_max) {
  const Keepalive keepalive = keepalive_for(silent_max);
  // Two listeners on one port would each get some of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kCallsAConnectionMax);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(keepalive.every.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             static_cast<int>(keepalive.patience.count()));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             static_cast<int>(keepalive.every.count() / 2));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             static_cast<int>(kHandshakeMax.count()));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kReadAheadBytes);
  builder.SetMaxReceiveMessageSize(static_cast<int>(kBatchBytesMax));
  builder.SetMaxSendMessageSize(-1);
}

Status call_error(const grpc::Status& status, std::string_view address,
                  const Credentials& credentials) {
  const auto code = static_cast<Code>(status.error_code());
  if (is_our_words(status.error_code())) {
    return Status::error(code, Reason::kSystem,
                         fmt::format("{}: {}", address, status.error_message()));
  }
  return Status::error(code == Code::kOk ? Code::kUnavailable : code, Reason::kSystem,
                       fmt::format("cannot reach {}: {} ({})", address,
                                   meaning_of(status, credentials), status.error_message()));
}

}  // namespace echelon
