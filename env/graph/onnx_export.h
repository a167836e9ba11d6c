// A Graph to ONNX bytes: names, opset imports, IR version, producer and metadata as they came in.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "env/graph/graph.h"

namespace amc {

// The same graph always gives the same bytes. FailedPrecondition if a constant is weightless.
absl::StatusOr<std::string> ExportOnnx(const Graph& graph);

// ExportOnnx + WriteFileAtomically.
absl::Status SaveOnnx(const Graph& graph, const std::string& path);

}  // namespace amc
