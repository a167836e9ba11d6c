// lut simulate: what the cycle model of a sparse runtime says of a network's layers, as a table
// that jobs can have their budget on.
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/backend/backends.h"
#include "env/exec/layer_inputs.h"
#include "env/graph/layer_weights.h"
#include "env/graph/onnx_import.h"
#include "env/sparse_latency.h"
#include "env/test_images.h"
#include "server/cli/exit_status.h"
#include "server/cli/json.h"
#include "server/cli/sparsity_text.h"
#include "server/engine/commands.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

// What each layer reads of one image.
absl::StatusOr<std::map<NodeId, std::vector<float>>> InputsOf(const Graph& graph,
                                                              const LutSimulateArgs& args,
                                                              const ExecOptions& exec) {
  std::unique_ptr<DataPack> pack;
  if (!args.data.empty()) {
    AMC_ASSIGN_OR_RETURN(pack, DataPack::Open(args.data));
  }
  AMC_ASSIGN_OR_RETURN(const TestImages images, MakeTestImages(graph, pack.get(), 1));
  AMC_ASSIGN_OR_RETURN(const std::vector<LayerWeights> layers, ListLayerWeights(graph));
  std::vector<NodeId> nodes;
  nodes.reserve(layers.size());
  for (const LayerWeights& layer : layers) nodes.push_back(layer.node);
  return LayerInputs(graph, nodes, images.values, exec);
}

}  // namespace

absl::Status RunLutSimulate(const LutSimulateArgs& args) {
  AMC_ASSIGN_OR_RETURN(const ExecOptions exec, PrepareExec(args.exec));
  const absl::StatusOr<const Backend*> backend = FindBackend(args.backend);
  if (!backend.ok()) {
    return UsageError(absl::StrCat("--backend: ", std::string(backend.status().message())));
  }
  AMC_ASSIGN_OR_RETURN(const SparsityText sparsity, ParseSparsity(args.sparsity));
  const SimulateOptions options = {
      .space = {.granularity = sparsity.granularity, .n = sparsity.n, .m = sparsity.m},
      .points = args.points,
      .linear_only = args.linear};
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(args.model));
  const absl::StatusOr<Graph> graph = ImportOnnx(bytes);
  AMC_RETURN_IF_ERROR(Annotate(graph.status(), args.model));
  AMC_ASSIGN_OR_RETURN(const auto inputs, InputsOf(*graph, args, exec));
  ProgressLine line;
  AMC_ASSIGN_OR_RETURN(LatencyTable table, SimulateTable(*graph, **backend, options, inputs,
                                                         ShowProgress(line, "simulating layer")));
  line.Finish();
  table.date = absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone());
  AMC_RETURN_IF_ERROR(WriteFileAtomically(args.output, WriteLatencyCsv(table)));
  if (args.json) {
    PrintJson(DescribeLatencyTable(table));
  } else {
    std::puts(absl::StrCat(args.output, ": ", table.rows.size(), " rows, simulated, of ",
                           ToString(table.setting), "; digest ", LatencyDigest(table).substr(0, 12))
                  .c_str());
  }
  return absl::OkStatus();
}

}  // namespace amc
