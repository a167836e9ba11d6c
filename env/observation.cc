#include "env/observation.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

// n, c, h, w, stride, k of a mixing layer.
using LayerShape = std::array<int64_t, 6>;

absl::StatusOr<LayerShape> DescribeLayer(const Graph& graph, const Node& node) {
  if (node.op == Op::kConv) {
    AMC_ASSIGN_OR_RETURN(const ConvParams conv, GetConvParams(graph, node));
    const Shape& input = graph.tensor(node.inputs.at(0)).shape;  // N x C x H x W: GetConvParams
    return LayerShape{conv.out_channels,
                      conv.in_channels,
                      input.at(2),
                      input.at(3),
                      std::max(conv.stride[0], conv.stride[1]),
                      std::max(conv.kernel[0], conv.kernel[1])};
  }
  // A linear layer: the last axes of its input and output.
  const Shape& input = graph.tensor(node.inputs.at(0)).shape;
  const Shape& output = graph.tensor(node.outputs.at(0)).shape;
  if (input.empty() || output.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(NodeLabel(graph, node), ": input or output has no axes"));
  }
  return LayerShape{output.back(), input.back(), 1, 1, 1, 1};
}

}  // namespace

absl::StatusOr<Observer> Observer::Create(const Graph& graph, const Grouping& grouping,
                                          const CostModel& cost_model,
                                          absl::Span<const int32_t> order) {
  absl::flat_hash_map<int32_t, int64_t> macs_of_node;
  for (const LayerCost& layer : cost_model.Layers(cost_model.channels())) {
    macs_of_node[static_cast<int32_t>(layer.node)] += layer.cost.macs;
  }
  std::vector<std::array<double, kLayerFeatures>> raw;
  for (const int32_t g : order) {
    const PruneGroup& group = grouping.groups[g];
    std::array<double, kLayerFeatures>& features = raw.emplace_back();
    features.fill(0);
    const std::vector<NodeId>& layers = group.consumers.empty() ? group.producers : group.consumers;
    if (layers.empty()) continue;
    AMC_ASSIGN_OR_RETURN(const LayerShape shape, DescribeLayer(graph, graph.node(layers.front())));
    std::copy(shape.begin(), shape.end(), features.begin());
    features.back() = static_cast<double>(macs_of_node[static_cast<int32_t>(layers.front())]);
  }
  std::array<double, kLayerFeatures> maximum{};
  for (const auto& features : raw) {
    for (size_t f = 0; f < kLayerFeatures; ++f) maximum[f] = std::max(maximum[f], features[f]);
  }
  Observer observer;
  for (size_t s = 0; s < raw.size(); ++s) {
    Step& step = observer.steps_.emplace_back(Step{.group = order[s]});
    for (size_t f = 0; f < kLayerFeatures; ++f) {
      if (maximum[f] > 0) step.layer[f] = static_cast<float>(raw[s][f] / maximum[f]);
    }
  }
  return observer;
}

Observation Observer::Observe(size_t step, double reduced, double rest, double last_action) const {
  const Step& described = steps_[step];
  Observation observation;
  observation.group = described.group;
  observation.features.resize(Observation::kSize);
  observation.features[Observation::kT] =
      static_cast<float>(static_cast<double>(step) / static_cast<double>(steps_.size()));
  std::copy(described.layer.begin(), described.layer.end(),
            observation.features.begin() + Observation::kN);
  observation.features[Observation::kReduced] = static_cast<float>(reduced);
  observation.features[Observation::kRest] = static_cast<float>(rest);
  observation.features[Observation::kLastAction] = static_cast<float>(last_action);
  return observation;
}

}  // namespace amc
