// Messages as proto3 JSON, out and in.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/job.pb.h"
#include "amc/v1/model.pb.h"
#include "google/protobuf/message.h"

namespace amc {

// proto3 JSON with the .proto's field names, every field written out (64-bit integers are strings,
// as proto3 JSON has them). `pretty`: one field per line and a newline at the end.
std::string ToJson(const google::protobuf::Message& message, bool pretty = true);

// Prints ToJson to stdout.
void PrintJson(const google::protobuf::Message& message);

// Lines whose first visible characters are // or # become empty, so that files may carry comments
// and parse errors keep their line.
std::string StripCommentLines(absl::string_view text);

// A job file: a v1.JobSpec as JSON with comment lines; `model`, `data` and `latency.table` may be
// paths, relative to the file's folder. InvalidArgument names the file and the unknown field or bad
// value.
absl::StatusOr<v1::JobSpec> ReadJobFile(const std::string& path);

// A policy file: {"keep": {"GROUP": count, ...}}; errors as ReadJobFile.
absl::StatusOr<v1::PolicyFile> ReadPolicyFile(const std::string& path);
// The same, written in the order of the decisions.
std::string PolicyFileJson(const v1::Policy& policy);

}  // namespace amc
