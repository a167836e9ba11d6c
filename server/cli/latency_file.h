// Latency tables in files: CSV, and JSON for programs (docs/formats.md). Which of the two a file is
// its first character says, not its name.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "amc/v1/job.pb.h"
#include "env/cost/latency_table.h"

namespace amc {

// The table in the file, checked and sorted. InvalidArgument names the file, the line (CSV) or row
// (JSON) and the reason; otherwise as ReadFile.
absl::StatusOr<LatencyTable> ReadLatencyFile(const std::string& path);

// Whether a job's latency table is a file, and not the digest of a stored one or its beginning.
bool NamesLatencyFile(const v1::JobSpec& spec);

// A v1.LatencyTable as proto3 JSON with the .proto's field names.
std::string LatencyJson(const LatencyTable& table);

}  // namespace amc
