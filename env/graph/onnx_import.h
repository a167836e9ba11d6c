// ONNX bytes to a Graph: checked, constants folded, shapes inferred.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/graph/graph.h"

namespace amc {

// Parses and validates a model of opset 9 or later. Afterwards every chain of Shape, Gather,
// Concat, Cast and the like that depends on constants and on the shape alone is a constant;
// Constant nodes are initializers; Identity of an activation and inference-mode Dropout stay; nodes
// are in topological order; every tensor that a known operator makes has a shape.
//
// The batch: the first axis of inputs is dynamic if the file says so. If the file fixes it
// (exporters like to fix 1), it becomes dynamic all the same where nothing depends on its size, so
// that any batch can be run; Graph::fixed_batch remembers the size, and export writes it back.
// Other dynamic axes are refused.
//
// Operators that are unknown, or that cannot be followed (a Reshape to a computed shape, one
// spatial axis, tokens of all images in one axis), are carried along as Op::kUnknown, with the
// shapes that ONNX infers for them or that the file records.
//
// InvalidArgument: not ONNX, truncated, cyclic, an edge to nowhere, a name defined twice or that is
// not UTF-8, a weight whose bytes contradict its shape or lie in another file, a dimension or a
// tensor too large to be real, a node that contradicts its operator's schema, operators whose
// shapes do not fit. The message names the node or tensor, what was found and what was expected.
absl::StatusOr<Graph> ImportOnnx(absl::string_view bytes);

// ReadFile + ImportOnnx; the message starts with the path.
absl::StatusOr<Graph> LoadOnnx(const std::string& path);

}  // namespace amc
