#include "server/rpc/channel.h"

#include <chrono>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "grpc/grpc.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace amc {
namespace {

// Lists of episodes with steps pass gRPC's default of 4 MiB.
constexpr int kMaxReceiveBytes = 64 << 20;

// gRPC shuts its library down when its last object goes, and then waits up to ten seconds for the
// poller of a client channel. Held for the whole process, the library never shuts down.
void HoldGrpc() {
  [[maybe_unused]] static const bool held = [] {
    grpc_init();
    return true;
  }();
}

}  // namespace

absl::Status CheckAddress(absl::string_view address) {
  const std::string text(address);
  if (absl::StartsWith(address, "unix:")) {
    // sun_path holds 108 bytes with its terminator.
    const size_t length = address.size() - 5;
    if (length >= 1 && length <= 107) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("address \"", text, "\": a socket path has 1 to 107 characters"));
  }
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("address \"", text, "\" is neither HOST:PORT nor unix:/PATH"));
  }
  return absl::OkStatus();
}

bool IsLocalAddress(absl::string_view address) {
  if (absl::StartsWith(address, "unix:")) return true;
  const std::string text(address);
  const std::string host = text.substr(0, text.rfind(':'));
  return host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.");
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options) {
  HoldGrpc();
  AMC_RETURN_IF_ERROR(CheckAddress(options.address));
  if (options.ca_file.empty() && !options.token.empty()) {
    return absl::InvalidArgumentError("a token needs TLS (a CA file), or it would travel in clear");
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!options.ca_file.empty()) {
    grpc::SslCredentialsOptions tls;
    AMC_ASSIGN_OR_RETURN(tls.pem_root_certs, ReadFile(options.ca_file));
    if (!absl::StrContains(tls.pem_root_certs, "-----BEGIN CERTIFICATE-----")) {
      return absl::FailedPreconditionError(absl::StrCat(options.ca_file, " holds no certificate"));
    }
    credentials = grpc::SslCredentials(tls);
    if (!options.token.empty()) {
      credentials = grpc::CompositeChannelCredentials(credentials,
                                                      grpc::AccessTokenCredentials(options.token));
    }
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // A server that is gone without a word, or a network that swallows everything, is found out while
  // a call is under way.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  return grpc::CreateCustomChannel(options.address, credentials, arguments);
}

absl::Status WaitForConnection(grpc::Channel& channel, const std::string& address,
                               absl::Duration timeout) {
  if (channel.WaitForConnected(std::chrono::system_clock::now() +
                               absl::ToChronoMilliseconds(timeout))) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat("cannot reach ", address));
}

absl::string_view Version() { return AMC_VERSION; }

}  // namespace amc
