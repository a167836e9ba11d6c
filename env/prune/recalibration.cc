#include "env/prune/recalibration.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/prune/layers.h"
#include "env/prune/torch_activations.h"

namespace amc {
namespace {

struct Moments {
  torch::Tensor mean, variance;  // float64, one value per channel
};

// Over all chunks, of every channel (dimension 1).
absl::StatusOr<Moments> Measure(const std::vector<torch::Tensor>& chunks) {
  torch::Tensor sum, squares;
  double count = 0;
  for (const torch::Tensor& chunk : chunks) {
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    const auto [chunk_mean, chunk_variance] = at::batch_norm_update_stats(chunk, {}, {}, 0);
    const auto values = static_cast<double>(chunk.numel() / chunk.size(1));
    const torch::Tensor centre = chunk_mean.to(at::kDouble);
    const torch::Tensor chunk_squares = chunk_variance.to(at::kDouble) + centre * centre;
    sum = count == 0 ? centre * values : sum + centre * values;
    squares = count == 0 ? chunk_squares * values : squares + chunk_squares * values;
    count += values;
  }
  const torch::Tensor mean = sum / count;
  return Moments{mean, (squares / count - mean * mean).clamp_min(0)};
}

// Where statistics are taken: the input of a batch norm, before it runs, or the output of a
// convolution that has a bias and no batch norm, after it ran.
struct Point {
  NodeId node = NodeId::kNone;
  TensorId measured = TensorId::kNone;
  TensorId weight = TensorId::kNone, bias = TensorId::kNone;  // of convolutions
  bool is_convolution() const { return weight != TensorId::kNone; }
};

std::vector<Point> BatchNormPoints(const Graph& graph) {
  std::vector<Point> points;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op != Op::kBatchNormalization) continue;
    points.push_back({.node = graph.node_id(i), .measured = graph.nodes[i].inputs[0]});
  }
  return points;
}

absl::StatusOr<std::vector<Point>> AllPoints(const Graph& graph) {
  std::vector<Point> points = BatchNormPoints(graph);
  AMC_ASSIGN_OR_RETURN(const std::vector<Layer> layers, ListLayers(graph));
  for (const Layer& layer : layers) {
    if (!layer.is_conv || layer.bias == TensorId::kNone || layer.batch_norm != NodeId::kNone) {
      continue;
    }
    points.push_back({layer.node, layer.result, layer.weight, layer.bias});
  }
  std::sort(points.begin(), points.end(),
            [](const Point& a, const Point& b) { return a.node < b.node; });
  return points;
}

// May change the network's constants and, after a convolution, its output.
using Visit =
    std::function<absl::Status(const Point&, const Moments&, TorchNetwork&, TorchActivations&)>;

// Passes all images through the network, node by node, from the start up to the last point. The
// result has the constants as the visits left them.
absl::StatusOr<Rebuilt> Walk(const Graph& graph, const CalibrationSet& images,
                             const ExecOptions& options, const std::vector<Point>& points,
                             const Visit& visit, const PrefixStart& start = {}) {
  if (points.empty() || images.count == 0) return Rebuilt{graph};
  const ExecOptions exec = WalkOptions(options);
  AMC_ASSIGN_OR_RETURN(std::unique_ptr<TorchNetwork> network, TorchNetwork::Create(graph, exec));
  TorchActivations activations(*network);
  if (start.cache != nullptr) {
    activations.SetStart(start);
  } else {
    AMC_ASSIGN_OR_RETURN(
        std::vector<torch::Tensor> chunks,
        LoadChunks(*images.pack, Split::kReconstruction, images.first, images.count, exec));
    activations.SetInput(std::move(chunks));
  }
  const at::NoGradGuard no_grad;
  size_t next = start.node;
  for (const Point& point : points) {
    const size_t end = Index(point.node) + (point.is_convolution() ? 1 : 0);
    AMC_RETURN_IF_ERROR(activations.Run(next, std::max(next, end)));
    next = std::max(next, end);
    try {
      AMC_ASSIGN_OR_RETURN(const Moments moments, Measure(activations.of(point.measured)));
      AMC_RETURN_IF_ERROR(visit(point, moments, *network, activations));
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrCat(NodeLabel(graph, graph.node(point.node)),
                                              ": recalibration: ", error.what()));
    }
  }
  Rebuilt rebuilt;
  AMC_ASSIGN_OR_RETURN(const int64_t macs, CountMacs(graph, start.node, next));
  rebuilt.work = images.count * macs;
  AMC_ASSIGN_OR_RETURN(rebuilt.graph, network->ToGraph());
  return rebuilt;
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

absl::StatusOr<ReferenceMoments> MeasureReference(const Graph& graph, const CalibrationSet& images,
                                                  const ExecOptions& options) {
  ReferenceMoments measured;
  AMC_ASSIGN_OR_RETURN(const std::vector<Point> points, AllPoints(graph));
  const Visit record = [&](const Point& point, const Moments& moments, TorchNetwork&,
                           TorchActivations&) {
    measured[point.node] = {ToVector(moments.mean), ToVector(moments.variance)};
    return absl::OkStatus();
  };
  AMC_RETURN_IF_ERROR(Walk(graph, images, options, points, record).status());
  return measured;
}

absl::StatusOr<Rebuilt> Recalibrate(const Graph& graph, const CalibrationSet& images,
                                    const ExecOptions& options) {
  const Visit replace = [&](const Point& point, const Moments& moments, TorchNetwork& network,
                            TorchActivations&) {
    const Node& node = graph.node(point.node);
    network.constant(node.inputs[3]).copy_(moments.mean);
    network.constant(node.inputs[4]).copy_(moments.variance);
    return absl::OkStatus();
  };
  return Walk(graph, images, options, BatchNormPoints(graph), replace);
}

absl::StatusOr<Rebuilt> RecalibrateAgainst(const Graph& original, const Grouping& grouping,
                                           const ChannelSelection& selection,
                                           const ReferenceMoments& reference, const Graph& shrunk,
                                           const CalibrationSet& images, const ExecOptions& options,
                                           const PrefixStart& start) {
  AMC_ASSIGN_OR_RETURN(std::vector<Point> points, AllPoints(shrunk));
  const size_t common = CommonPrefix(original, shrunk);
  points.erase(std::remove_if(points.begin(), points.end(),
                              [&](const Point& point) { return Index(point.node) < common; }),
               points.end());
  const Visit match = [&](const Point& point, const Moments& moments, TorchNetwork& network,
                          TorchActivations& activations) -> absl::Status {
    const Node& node = original.node(point.node);
    const auto found = reference.find(point.node);
    if (found == reference.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(NodeLabel(original, node), ": the reference does not have it"));
    }
    const std::vector<int64_t> kept = KeptSlots(
        grouping, point.measured, 1, static_cast<int64_t>(found->second.mean.size()), selection);
    // m, s are the mean and deviation of the new values, m0, s0 of the old ones.
    const torch::Tensor old_mean = Take(found->second.mean, kept);
    const torch::Tensor old_variance = Take(found->second.variance, kept);
    const torch::Tensor mean = moments.mean.to(at::kCPU);
    const torch::Tensor variance = moments.variance.to(at::kCPU);
    const torch::Tensor varies = old_variance.gt(1e-12).logical_and(variance.gt(1e-12));
    const torch::Tensor ratio =  // s / s0
        at::where(varies, variance / old_variance, torch::ones_like(variance)).sqrt();
    if (point.is_convolution()) {  // y becomes (y - m) s0 / s + m0
      const torch::Tensor scale = 1 / ratio;
      const torch::Tensor shift = old_mean - mean * scale;
      torch::Tensor& weight = network.constant(point.weight);
      torch::Tensor& bias = network.constant(point.bias);
      weight.mul_(scale.reshape({-1, 1, 1, 1}).to(weight.options()));
      bias.copy_(bias.to(at::kCPU, at::kDouble) * scale + shift);
      activations.Transform(point.measured, scale, shift);
      return absl::OkStatus();
    }
    // With running statistics mu0, sigma0: sigma = sigma0 s / s0, mu = m - (m0 - mu0) s / s0.
    AMC_ASSIGN_OR_RETURN(const std::vector<float> running_mean,
                         Values<float>(original, node.inputs[3]));
    AMC_ASSIGN_OR_RETURN(const std::vector<float> running_variance,
                         Values<float>(original, node.inputs[4]));
    network.constant(node.inputs[3]).copy_(mean - (old_mean - Take(running_mean, kept)) * ratio);
    network.constant(node.inputs[4]).copy_(Take(running_variance, kept) * ratio * ratio);
    return absl::OkStatus();
  };
  return Walk(shrunk, images, options, points, match, start);
}

}  // namespace amc
