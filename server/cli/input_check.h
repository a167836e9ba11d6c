// Files that a job names, looked at before they are sent anywhere. Torch-free.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"

namespace amc {

// What the header of a data pack (docs/formats.md) says of its splits.
struct PackSummary {
  int64_t reconstruction_images = 0, reward_images = 0, report_images = 0;
};

// InvalidArgument, with the file's name, unless its header is one and asks for the bytes that
// follow. Labels and preprocessing are for the server to check.
absl::StatusOr<PackSummary> ReadPackSummary(const std::string& path);

// Imports the model, and reads the pack's header and the latency table, where `spec` names files; a
// note on stderr says where it asks for more images than there are.
absl::Status CheckInputs(const v1::JobSpec& spec);

}  // namespace amc
