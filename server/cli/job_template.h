// The job file that `amc init` writes: every field with its default and a line that explains it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/job.pb.h"
#include "env/graph/graph.h"

namespace amc {

// JSON with comment lines, as ReadJobFile reads it. Errors as BuildGroups.
absl::StatusOr<std::string> JobTemplate(const std::string& model, const std::string& data,
                                        const Graph& graph);

// The defaults that it states, without name, model and data; its budget's ratio is an example.
v1::JobSpec DefaultJobSpec();

}  // namespace amc
