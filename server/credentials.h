// Who may talk to a server: nobody asks on loopback and unix sockets; beyond them TLS and a token.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"
#include "server/server.h"

namespace amc {

// InvalidArgument for an address beyond this machine without TLS and token, for half of a key pair,
// or for a token without TLS; the errors of ReadFile.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ServerOptions& options);

}  // namespace amc
