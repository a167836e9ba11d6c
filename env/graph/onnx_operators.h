// What ONNX's own operator schemas say about single nodes: is it well-formed, and which shapes do
// operators have that our shape inference does not know. Private to onnx_import.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "env/graph/constant_folding.h"
#include "env/graph/graph.h"
#include "onnx/onnx_pb.h"

namespace amc {

// Debian's libonnx knows opsets up to 17 and IR versions up to 8; nodes of later opsets are taken
// as they are, and our own validation has the last word.
inline constexpr int64_t kLastCheckedOpset = 17;
inline constexpr int64_t kLastCheckedIr = 8;

// Runs ONNX's checker on every node whose operator has a schema: number of inputs and outputs,
// names and types of attributes. Unknown operators pass. InvalidArgument with the checker's
// message.
absl::Status CheckNodes(const onnx::ModelProto& model,
                        const std::map<std::string, int64_t>& opsets);

// An InferUnknown (constant_folding.h): shapes and types by the schema's inference function, for
// operators whose function is safe on hostile input. What it cannot tell stays as it is: what the
// file records, if anything.
void InferBySchema(Graph& graph, const Node& node, const KnownValues& values);

}  // namespace amc
