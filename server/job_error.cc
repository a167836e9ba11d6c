#include "server/job_error.h"

#include <string>

#include "absl/strings/cord.h"

namespace amc {
namespace {

constexpr char kReasonUrl[] = "amc.v1.FailureReason";

}  // namespace

absl::Status JobError(v1::FailureReason reason, absl::string_view message) {
  absl::Status status = absl::FailedPreconditionError(message);
  status.SetPayload(kReasonUrl, absl::Cord(v1::FailureReason_Name(reason)));
  return status;
}

v1::FailureReason ReasonOf(const absl::Status& status) {
  v1::FailureReason reason = v1::FAILURE_REASON_INTERNAL;
  const absl::optional<absl::Cord> payload = status.GetPayload(kReasonUrl);
  if (payload.has_value()) v1::FailureReason_Parse(std::string(*payload), &reason);
  return reason;
}

}  // namespace amc
