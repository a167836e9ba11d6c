// An ONNX file that was proved equal to the network it came from.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"

namespace amc {

// Exports `graph`, reads the bytes back and runs both on the first images of the report split, or
// on noise without a pack. DataLoss unless max|difference| <= 1e-4 * max|output| (DESIGN.md section
// 5); otherwise as ExportOnnx, ImportOnnx and Network.
absl::StatusOr<std::string> CheckedExport(const Graph& graph, const DataPack* pack,
                                          const ExecOptions& options);

}  // namespace amc
