// The one place where absl::Status and grpc::Status meet.
//
// Codes are the same numbers. Payloads travel as google.rpc.Status details in the trailer
// grpc-status-details-bin, so that any gRPC client library can read them; field violations are such
// a payload (google.rpc.BadRequest).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/status.h"

namespace amc {

grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

// A field of a request that is to blame: "spec.budget.ratio" and what is wrong with it.
struct FieldViolation {
  std::string field;
  std::string description;
  friend bool operator==(const FieldViolation&, const FieldViolation&) = default;
};

// InvalidArgument "FIELD: DESCRIPTION; ..." with the violations attached; OK if there are none.
absl::Status FieldErrors(const std::vector<FieldViolation>& violations);
absl::Status FieldError(absl::string_view field, absl::string_view description);

// `status` with its message attributed to `field` ("FIELD: MESSAGE" and a violation), keeping its
// code. OK stays OK.
absl::Status AtField(const absl::Status& status, absl::string_view field);

// The violations that a status carries; empty if none.
std::vector<FieldViolation> FieldViolations(const absl::Status& status);

}  // namespace amc
