// SHA-256 (FIPS 180-4), the name of every artifact.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace amc {

// Returns the digest of `bytes` as 64 lower-case hexadecimal digits.
std::string Sha256Hex(absl::string_view bytes);

// Whether `text` has the form of such a digest.
bool IsSha256Hex(absl::string_view text);

// The digest of bytes that arrive in pieces. One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Update(absl::string_view bytes);
  std::string HexDigest();  // ends the computation: call once

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace amc
