// The networks that are timed to learn how long one layer takes.
//
// A layer inside a network does not pay for what a network alone pays: the call, images brought
// into the runtime's own layout and results brought back, which for a small layer are most of the
// time. Nor does it read from images that the caller made, but from what the layer before has just
// written, in the layout that the runtime likes. So a layer is timed between a *feeder*, a 1x1
// convolution that makes its inputs out of 3-channel images, and a *tap*, a pool that reads one
// pixel of its outputs; and the same feeder and tap are timed without it. The difference is the
// layer:
//
//   layer:     image Nx3xhxw -> Conv 1x1 -> layer, bias, activation -> MaxPool 1x1, stride h'xw'
//   baseline:  image Nx3xhxw -> Conv 1x1 -> MaxPool 1x1, stride hxw
//
// Linear layers are fed by a linear one, from 3 features, and need no tap.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "env/cost/latency_layers.h"
#include "env/graph/graph.h"

namespace amc {

// `layer` of `graph` (weights may be missing: only shapes are read) as if it read `in` channels and
// made `out` ones; of depthwise layers, `in` equals `out`, as in tables. Weights are random, the
// same every time. Opset 10, which all runtimes read. InvalidArgument names the layer if the
// channels do not fit its groups; errors of GetConvParams.
absl::StatusOr<Graph> MakeLayerNetwork(const Graph& graph, const LatencyLayer& layer, int64_t in,
                                       int64_t out);
// What to subtract from it: it depends on the input's size and `in` alone.
absl::StatusOr<Graph> MakeBaselineNetwork(const Graph& graph, const LatencyLayer& layer,
                                          int64_t in);
// The same text for the same baseline: "56x56 64", "rows 1 512".
std::string BaselineKey(const Graph& graph, const LatencyLayer& layer, int64_t in);

// What layers are timed against where their own network cannot be (build_table.h): a 3x3
// convolution from 32 to 32 channels of 28x28.
absl::StatusOr<Graph> MakeReferenceNetwork();

}  // namespace amc
