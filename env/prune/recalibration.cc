#include "env/prune/recalibration.h"

#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/prune/layers.h"
#include "env/prune/torch_activations.h"

namespace amc {
namespace {

struct Moments {
  torch::Tensor mean, variance;  // float64, one value per channel
};

// Over all chunks, of every channel (dimension 1).
Moments Measure(const std::vector<torch::Tensor>& chunks) {
  torch::Tensor sum, squares;
  double count = 0;
  for (const torch::Tensor& chunk : chunks) {
    const auto [chunk_mean, chunk_variance] = at::batch_norm_update_stats(chunk, {}, {}, 0);
    const auto values = static_cast<double>(chunk.numel() / chunk.size(1));
    const torch::Tensor centre = chunk_mean.to(at::kDouble);
    const torch::Tensor chunk_squares = chunk_variance.to(at::kDouble) + centre * centre;
    sum = count == 0 ? centre * values : sum + centre * values;
    squares = count == 0 ? chunk_squares * values : squares + chunk_squares * values;
    count += values;
  }
  const torch::Tensor mean = sum / count;
  return {mean, (squares / count - mean * mean).clamp_min(0)};
}

// Called with each batch norm before it runs; may change its constants.
using Visit = std::function<absl::Status(NodeId, const Moments&, TorchNetwork&)>;

// Passes all images through the network, node by node, up to its last batch norm. Null if it has
// none.
absl::StatusOr<std::unique_ptr<TorchNetwork>> Walk(const Graph& graph, const CalibrationSet& images,
                                                   const ExecOptions& options, const Visit& visit) {
  size_t end = graph.nodes.size();
  while (end > 0 && graph.nodes[end - 1].op != Op::kBatchNormalization) --end;
  if (end == 0 || images.count == 0) return nullptr;
  ExecOptions unfolded = options;
  unfolded.fold_batch_norm = false;
  unfolded.precision = Precision::kFloat32;
  AMC_ASSIGN_OR_RETURN(std::unique_ptr<TorchNetwork> network,
                       TorchNetwork::Create(graph, unfolded));
  TorchActivations activations(*network);
  AMC_ASSIGN_OR_RETURN(
      std::vector<torch::Tensor> chunks,
      LoadChunks(*images.pack, Split::kReconstruction, images.first, images.count, unfolded));
  activations.SetInput(std::move(chunks));
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < end; ++i) {
    const NodeId id = graph.node_id(i);
    const Node& node = graph.node(id);
    if (node.op == Op::kBatchNormalization) {
      try {
        AMC_RETURN_IF_ERROR(visit(id, Measure(activations.of(node.inputs[0])), *network));
      } catch (const std::exception& error) {
        return absl::InternalError(
            absl::StrCat(NodeLabel(graph, node), ": recalibration: ", error.what()));
      }
    }
    AMC_RETURN_IF_ERROR(activations.Run(id));
  }
  return network;
}

std::vector<float> ToVector(const torch::Tensor& values) {
  const torch::Tensor floats = values.to(at::kCPU, at::kFloat).contiguous();
  const float* const first = floats.data_ptr<float>();
  return std::vector<float>(first, first + floats.numel());
}

torch::Tensor Take(const std::vector<float>& values, const std::vector<int64_t>& kept) {
  torch::Tensor taken = torch::empty({static_cast<int64_t>(kept.size())}, at::kDouble);
  for (size_t i = 0; i < kept.size(); ++i) taken.data_ptr<double>()[i] = values[kept[i]];
  return taken;
}

}  // namespace

absl::StatusOr<BatchNormMoments> MeasureBatchNorms(const Graph& graph, const CalibrationSet& images,
                                                   const ExecOptions& options) {
  BatchNormMoments measured;
  const Visit record = [&](NodeId id, const Moments& moments, TorchNetwork&) {
    measured[id] = {ToVector(moments.mean), ToVector(moments.variance)};
    return absl::OkStatus();
  };
  AMC_RETURN_IF_ERROR(Walk(graph, images, options, record).status());
  return measured;
}

absl::StatusOr<Graph> Recalibrate(const Graph& graph, const CalibrationSet& images,
                                  const ExecOptions& options) {
  const Visit replace = [&](NodeId id, const Moments& moments, TorchNetwork& network) {
    const Node& node = graph.node(id);
    network.constant(node.inputs[3]).copy_(moments.mean);
    network.constant(node.inputs[4]).copy_(moments.variance);
    return absl::OkStatus();
  };
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> network,
                       Walk(graph, images, options, replace));
  if (network == nullptr) return graph;
  return network->ToGraph();
}

absl::StatusOr<Graph> RecalibrateAgainst(const Graph& original, const Grouping& grouping,
                                         const ChannelSelection& selection,
                                         const BatchNormMoments& reference, const Graph& shrunk,
                                         const CalibrationSet& images, const ExecOptions& options) {
  const Visit match = [&](NodeId id, const Moments& moments, TorchNetwork& network) {
    const Node& node = original.node(id);
    AMC_ASSIGN_OR_RETURN(const std::vector<float> mean, Values<float>(original, node.inputs[3]));
    AMC_ASSIGN_OR_RETURN(const std::vector<float> variance,
                         Values<float>(original, node.inputs[4]));
    const auto found = reference.find(id);
    if (found == reference.end() || found->second.mean.size() != mean.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(NodeLabel(original, node), ": the reference does not have it"));
    }
    const std::vector<int64_t> kept =
        KeptSlots(grouping, node.inputs[0], 1, static_cast<int64_t>(mean.size()), selection);
    // With m, s of the new input, m0, s0 of the old one and mu0, sigma0 the running statistics:
    // sigma = sigma0 s / s0, mu = m - (m0 - mu0) s / s0.
    const torch::Tensor old_mean = Take(found->second.mean, kept);
    const torch::Tensor old_variance = Take(found->second.variance, kept);
    const torch::Tensor ratio = at::where(
        old_variance.gt(1e-12), moments.variance.to(at::kCPU) / old_variance.clamp_min(1e-12),
        torch::ones_like(old_variance));
    network.constant(node.inputs[3])
        .copy_(moments.mean.to(at::kCPU) - (old_mean - Take(mean, kept)) * ratio.sqrt());
    network.constant(node.inputs[4]).copy_(Take(variance, kept) * ratio);
    return absl::OkStatus();
  };
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> network,
                       Walk(shrunk, images, options, match));
  if (network == nullptr) return shrunk;
  return network->ToGraph();
}

}  // namespace amc
