// An ONNX file that was proved equal to the network it came from.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"

namespace amc {

// Exports `graph`, reads the bytes back, compares the costs and runs both networks in float32 on
// the first images of the reward split, or on noise where `pack` is null or has none. DataLoss
// unless the costs are equal, all outputs finite and max|difference| <= 1e-4 * max|output|;
// otherwise as ExportOnnx, ImportOnnx, CountCost and Network.
absl::StatusOr<std::string> CheckedExport(const Graph& graph, const DataPack* pack,
                                          const ExecOptions& options);

}  // namespace amc
