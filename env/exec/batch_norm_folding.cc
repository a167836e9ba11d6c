#include "env/exec/batch_norm_folding.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

bool IsOwnConstant(const Graph& graph, const std::vector<std::vector<NodeId>>& consumers,
                   TensorId id) {
  return id != TensorId::kNone && graph.tensor(id).is_constant && consumers[Index(id)].size() == 1;
}

// Whether a batch norm can move into `layer`, which reads `consumers`.
absl::StatusOr<bool> IsFoldable(const Graph& graph,
                                const std::vector<std::vector<NodeId>>& consumers,
                                const Node& layer) {
  if (layer.op != Op::kConv && layer.op != Op::kGemm) return false;
  if (layer.inputs.size() < 2 || !IsOwnConstant(graph, consumers, layer.inputs[1])) return false;
  if (layer.inputs.size() > 2 && layer.inputs[2] != TensorId::kNone &&
      !IsOwnConstant(graph, consumers, layer.inputs[2])) {
    return false;
  }
  if (layer.op == Op::kGemm) {
    AMC_ASSIGN_OR_RETURN(const GemmParams params, GetGemmParams(graph, layer));
    return params.alpha == 1 && params.beta == 1;
  }
  return true;
}

absl::StatusOr<FoldedLayer> Fold(const Graph& graph, NodeId layer_id, NodeId batch_norm_id) {
  const Node& layer = graph.node(layer_id);
  const Node& batch_norm = graph.node(batch_norm_id);
  FoldedLayer folded;
  folded.layer = layer_id;
  folded.batch_norm = batch_norm_id;
  AMC_ASSIGN_OR_RETURN(folded.weight, Values<float>(graph, layer.inputs[1]));
  const Shape& shape = graph.tensor(layer.inputs[1]).shape;
  int64_t channels = shape.empty() ? 0 : shape[0];
  bool channels_last = false;  // of the weight: Gemm's K x N
  if (layer.op == Op::kGemm) {
    AMC_ASSIGN_OR_RETURN(const GemmParams params, GetGemmParams(graph, layer));
    channels_last = !params.trans_b;
    if (channels_last) channels = shape.empty() ? 0 : shape.back();
  }
  std::vector<float> constants[4];  // scale, shift, mean, variance
  for (size_t i = 0; i < 4; ++i) {
    AMC_ASSIGN_OR_RETURN(constants[i], Values<float>(graph, batch_norm.inputs[i + 1]));
    if (static_cast<int64_t>(constants[i].size()) != channels) {
      return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph, batch_norm), ": constant ",
                                                     i + 1, " has ", constants[i].size(),
                                                     " values for ", channels, " channels"));
    }
  }
  std::vector<float> bias;
  if (layer.inputs.size() > 2 && layer.inputs[2] != TensorId::kNone) {
    AMC_ASSIGN_OR_RETURN(bias, Values<float>(graph, layer.inputs[2]));
  }
  bias.resize(bias.empty() ? static_cast<size_t>(channels) : bias.size());
  if (bias.size() == 1) bias.resize(static_cast<size_t>(channels), bias[0]);  // Gemm broadcasts
  if (static_cast<int64_t>(bias.size()) != channels) {
    return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph, layer), ": bias has ",
                                                   bias.size(), " values for ", channels,
                                                   " channels"));
  }
  AMC_ASSIGN_OR_RETURN(const float epsilon, GetBatchNormEpsilon(graph, batch_norm));
  std::vector<double> factors(static_cast<size_t>(channels));
  for (size_t c = 0; c < factors.size(); ++c) {
    factors[c] = constants[0][c] / std::sqrt(static_cast<double>(constants[3][c]) + epsilon);
    bias[c] = static_cast<float>(factors[c] * (static_cast<double>(bias[c]) - constants[2][c]) +
                                 constants[1][c]);
  }
  const size_t per_channel = folded.weight.size() / std::max<size_t>(factors.size(), 1);
  for (size_t i = 0; i < folded.weight.size(); ++i) {
    const size_t c = channels_last ? i % factors.size() : i / per_channel;
    folded.weight[i] = static_cast<float>(factors[c] * folded.weight[i]);
  }
  folded.bias = std::move(bias);
  return folded;
}

}  // namespace

absl::StatusOr<std::vector<FoldedLayer>> FoldBatchNorms(const Graph& graph) {
  const std::vector<NodeId> producers = Producers(graph);
  const std::vector<std::vector<NodeId>> consumers = Consumers(graph);
  std::vector<FoldedLayer> folded;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& batch_norm = graph.nodes[i];
    if (batch_norm.op != Op::kBatchNormalization || batch_norm.inputs.size() != 5) continue;
    AMC_ASSIGN_OR_RETURN(const int64_t training, GetInt(graph, batch_norm, "training_mode", 0));
    const TensorId between = batch_norm.inputs[0];
    if (training != 0 || between == TensorId::kNone || consumers[Index(between)].size() != 1 ||
        std::count(graph.outputs.begin(), graph.outputs.end(), between) != 0) {
      continue;
    }
    const NodeId layer = producers[Index(between)];
    if (layer == NodeId::kNone) continue;
    AMC_ASSIGN_OR_RETURN(const bool foldable, IsFoldable(graph, consumers, graph.node(layer)));
    if (!foldable) continue;
    AMC_ASSIGN_OR_RETURN(FoldedLayer one, Fold(graph, layer, graph.node_id(i)));
    folded.push_back(std::move(one));
  }
  return folded;
}

}  // namespace amc
