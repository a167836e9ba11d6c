// Addresses and client channels: what the command line and the worker share. Torch-free.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"

namespace amc {

inline constexpr char kDefaultAddress[] = "127.0.0.1:7070";

struct ChannelOptions {
  std::string address = kDefaultAddress;  // HOST:PORT or unix:/PATH
  std::string ca_file;  // PEM of the authority that signed the server; empty: no TLS
  std::string token;    // sent as "authorization: Bearer TOKEN"; needs TLS
};

// "HOST:PORT" or "unix:/PATH", InvalidArgument otherwise.
absl::Status CheckAddress(absl::string_view address);

// Whether only this machine can reach the address: a unix socket or a loopback host.
bool IsLocalAddress(absl::string_view address);

// A channel that connects on first use and reconnects within two seconds of a server's return.
// InvalidArgument for a bad address or a token without TLS; FailedPrecondition for a CA file that
// holds no certificate; ReadFile's errors for one that cannot be read.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options);

// Unavailable "cannot reach ADDRESS" unless the channel connects within `timeout`.
absl::Status WaitForConnection(grpc::Channel& channel, const std::string& address,
                               absl::Duration timeout);

// This program's version ("0.1.0"). Workers must have the server's.
absl::string_view Version();

}  // namespace amc
