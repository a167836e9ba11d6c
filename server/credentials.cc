#include "server/credentials.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "openssl/crypto.h"
#include "server/rpc/channel.h"

namespace amc {
namespace {

// Lets calls pass that carry "authorization: Bearer TOKEN". Thread-safe.
class TokenChecker : public grpc::AuthMetadataProcessor {
 public:
  explicit TokenChecker(const std::string& token) : expected_(absl::StrCat("Bearer ", token)) {}

  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext*, OutputMetadata* consumed,
                       OutputMetadata*) override {
    const auto found = metadata.find("authorization");
    // In constant time, so that answers do not tell how much of a guess was right.
    if (found == metadata.end() || found->second.size() != expected_.size() ||
        CRYPTO_memcmp(found->second.data(), expected_.data(), expected_.size()) != 0) {
      return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "missing or wrong token");
    }
    consumed->emplace("authorization", expected_);
    return grpc::Status::OK;
  }

 private:
  const std::string expected_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ServerOptions& options) {
  const bool tls = !options.tls_certificate_file.empty();
  if (tls != !options.tls_key_file.empty()) {
    return absl::InvalidArgumentError("TLS needs both a certificate and a key");
  }
  if (!IsLocalAddress(options.address) && (!tls || options.token.empty())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "address ", options.address, " can be reached from other machines: that needs ",
        "a TLS certificate with its key, and a token"));
  }
  if (!options.token.empty() && !tls) {
    return absl::InvalidArgumentError("a token needs TLS, or it would travel in clear");
  }
  if (!tls) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions ssl;
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  AMC_ASSIGN_OR_RETURN(pair.cert_chain, ReadFile(options.tls_certificate_file));
  AMC_ASSIGN_OR_RETURN(pair.private_key, ReadFile(options.tls_key_file));
  ssl.pem_key_cert_pairs.push_back(std::move(pair));
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::SslServerCredentials(ssl);
  if (!options.token.empty()) {
    credentials->SetAuthMetadataProcessor(std::make_shared<TokenChecker>(options.token));
  }
  return credentials;
}

}  // namespace amc
