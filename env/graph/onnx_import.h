// ONNX bytes to a Graph: checked, constants folded, shapes inferred.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/graph/graph.h"

namespace amc {

// Parses and validates a model. Afterwards every chain of Shape, Gather, Concat, Cast and the like
// that depends on constants and on the shape alone is a constant; Constant nodes are initializers;
// Identity and inference-mode Dropout stay; nodes are in topological order; every tensor that known
// operators make has a shape, with the batch axis dynamic if the file says so.
//
// InvalidArgument: not ONNX, truncated, cyclic, an edge to nowhere, a weight whose bytes contradict
// its shape, a dimension or a tensor too large to be real, operators whose shapes do not fit. The
// message names the node or tensor, what was found and what was expected.
absl::StatusOr<Graph> ImportOnnx(absl::string_view bytes);

// ReadFile + ImportOnnx; the message starts with the path.
absl::StatusOr<Graph> LoadOnnx(const std::string& path);

}  // namespace amc
