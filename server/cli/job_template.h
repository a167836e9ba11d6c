// The job file that `amc init` writes: every field with its default and a line that explains it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/graph/graph.h"

namespace amc {

// JSON with comment lines, as ReadJobFile reads it. Errors as BuildGroups.
absl::StatusOr<std::string> JobTemplate(const std::string& model, const std::string& data,
                                        const Graph& graph);

}  // namespace amc
