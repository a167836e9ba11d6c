// Batch norm statistics of a changed network, exact over a set of images.
//
// Pruning shifts the distributions that batch norm's running mean and variance describe. Here all
// images pass one node before the next one runs, so every batch norm sees inputs that were
// normalised with the final statistics of those before it; no moving average is involved.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"

namespace amc {

// `graph` with the statistics of the reconstruction split's images [first, first + count). Returned
// as it is if it has no batch norm. Errors of TorchNetwork::Create.
absl::StatusOr<Graph> Recalibrate(const Graph& graph, const DataPack& pack, int64_t first,
                                  int64_t count, const ExecOptions& options);

}  // namespace amc
