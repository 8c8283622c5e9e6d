// SPDX-License-Identifier: Apache-2.0
//
// Credentials as gRPC wants them. With a tls_dir both ends show a certificate of the same authority
// (ca.pem) and check the other's; without one the connection is in plain text, for this machine
// alone or where both sides were told that it may be insecure.
//
// Threads: safe. Blocking: reads three small files.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string_view>

#include "base/status.h"
#include "remote/transport.h"

namespace echelon {

/// Errors: kBadArgument (no address; plain text to another machine; a file of tls_dir that cannot
/// be read, or holds no certificate or key, or a key that is not its certificate's).
Result<std::shared_ptr<grpc::ChannelCredentials>> make_channel_credentials(
    std::string_view address, const Credentials& given);
Result<std::shared_ptr<grpc::ServerCredentials>> make_server_credentials(std::string_view address,
                                                                         const Credentials& given);

}  // namespace echelon
