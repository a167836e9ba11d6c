// Page tokens: where a list goes on, bound to the query that made them.
//
// Web-safe base64 of a 64-bit fingerprint of the request (without page size and token) and the sort
// key of the last row given out. A page begins after that key and so stays right while rows are
// added. Tokens mean nothing to clients and need not be secret.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace amc {

// The last row's key. Every list uses the members that its order needs.
struct PageKey {
  std::variant<int64_t, double> key;
  int64_t number = 0;
  std::string text;
};

// The fingerprint of a list request: its type and all fields but page_size and page_token.
uint64_t QueryFingerprint(const google::protobuf::Message& request);

std::string EncodePageToken(uint64_t fingerprint, const PageKey& key);

// InvalidArgument for a token of another query, or for none of ours.
absl::StatusOr<PageKey> DecodePageToken(absl::string_view token, uint64_t fingerprint);

// `requested` as the protos have it: 0 is the default, more than the most is the most.
// InvalidArgument for a negative one.
absl::StatusOr<int64_t> PageSize(int64_t requested, int64_t fallback, int64_t most);

}  // namespace amc
