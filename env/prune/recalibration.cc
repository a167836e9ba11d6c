#include "env/prune/recalibration.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/prune/torch_activations.h"

namespace amc {
namespace {

// Mean and variance of every channel (dimension 1) over all chunks, written into `mean` and
// `variance`. Sums run over values less the old mean, which is near the new one.
void Measure(const std::vector<torch::Tensor>& chunks, torch::Tensor& mean,
             torch::Tensor& variance) {
  torch::Tensor sum, squares;
  int64_t count = 0;
  for (const torch::Tensor& chunk : chunks) {
    const int64_t channels = chunk.size(1);
    const torch::Tensor last = chunk.movedim(1, -1).reshape({-1, channels}) - mean;
    const torch::Tensor chunk_sum = last.sum(0).to(at::kDouble);
    const torch::Tensor chunk_squares = (last * last).sum(0).to(at::kDouble);
    sum = sum.defined() ? sum + chunk_sum : chunk_sum;
    squares = squares.defined() ? squares + chunk_squares : chunk_squares;
    count += last.size(0);
  }
  const torch::Tensor shift = sum / static_cast<double>(count);
  variance.copy_((squares / static_cast<double>(count) - shift * shift).clamp_min(0));
  mean.add_(shift);
}

}  // namespace

absl::StatusOr<Graph> Recalibrate(const Graph& graph, const DataPack& pack, int64_t first,
                                  int64_t count, const ExecOptions& options) {
  // What comes after the last batch norm need not run.
  size_t end = graph.nodes.size();
  while (end > 0 && graph.nodes[end - 1].op != Op::kBatchNormalization) --end;
  if (end == 0 || count == 0) return graph;
  ExecOptions unfolded = options;
  unfolded.fold_batch_norm = false;
  unfolded.precision = Precision::kFloat32;
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> network,
                       TorchNetwork::Create(graph, unfolded));
  TorchActivations activations(*network);
  AMC_ASSIGN_OR_RETURN(std::vector<torch::Tensor> chunks,
                       LoadChunks(pack, Split::kReconstruction, first, count, unfolded));
  activations.SetInput(std::move(chunks));
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < end; ++i) {
    const Node& node = graph.nodes[i];
    if (node.op == Op::kBatchNormalization) {
      try {
        Measure(activations.of(node.inputs[0]), network->constant(node.inputs[3]),
                network->constant(node.inputs[4]));
      } catch (const std::exception& error) {
        return absl::InternalError(
            absl::StrCat(NodeLabel(graph, node), ": recalibration: ", error.what()));
      }
    }
    AMC_RETURN_IF_ERROR(activations.Run(graph.node_id(i)));
  }
  return network->ToGraph();
}

}  // namespace amc
