#include "server/cli/model_info.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/cost/parameters.h"
#include "env/cost/policy.h"
#include "server/cli/format.h"
#include "server/cli/table.h"

namespace amc {
namespace {

const char* RoleName(AxisRole role) {
  switch (role) {
    case AxisRole::kOutput:
      return "output";
    case AxisRole::kInput:
      return "input";
    case AxisRole::kPerChannel:
      return "per-channel";
    case AxisRole::kActivation:
      return "activation";
  }
  return "";
}

void FillGroup(const Graph& graph, const PruneGroup& group, v1::Group& out) {
  out.set_name(group.name);
  out.set_channels(group.channels);
  out.set_cells(group.cells);
  out.set_residual(group.residual);
  for (const GroupAxis& axis : group.axes) {
    v1::GroupAxis& described = *out.add_axes();
    described.set_tensor(graph.tensor(axis.tensor).name);
    described.set_dim(axis.dim);
    described.set_role(RoleName(axis.role));
    if (axis.node != NodeId::kNone) described.set_node(NodeLabel(graph, graph.node(axis.node)));
    described.set_slots_per_channel(axis.slots_per_channel);
  }
  for (const NodeId id : group.producers) out.add_producers(NodeLabel(graph, graph.node(id)));
  for (const NodeId id : group.consumers) out.add_consumers(NodeLabel(graph, graph.node(id)));
}

void FillCost(const Cost& cost, v1::Cost& out) {
  out.set_macs(cost.macs);
  out.set_params(cost.params);
}

std::string ShapesOf(const Graph& graph, const std::vector<TensorId>& tensors) {
  return absl::StrJoin(tensors, ", ", [&](std::string* out, TensorId id) {
    const Tensor& tensor = graph.tensor(id);
    absl::StrAppend(out, tensor.shape_known ? ShapeToString(tensor.shape) : "?");
  });
}

// "3 output, 2 input, 9 activation": how often the group appears in which role.
std::string AxisSummary(const v1::Group& group) {
  std::vector<std::string> parts;
  for (const char* role : {"output", "input", "per-channel", "activation"}) {
    const auto count = std::count_if(group.axes().begin(), group.axes().end(),
                                     [&](const auto& axis) { return axis.role() == role; });
    if (count > 0) parts.push_back(absl::StrCat(count, " ", role));
  }
  if (group.residual()) parts.emplace_back("residual path");
  return absl::StrJoin(parts, ", ");
}

// "Conv conv2 and 3 more"
std::string FirstConsumer(const v1::Group& group) {
  if (group.consumers().empty()) return "";
  const int others = group.consumers_size() - 1;
  return others == 0 ? group.consumers(0)
                     : absl::StrCat(group.consumers(0), " and ", others, " more");
}

std::string WithRatio(int64_t cost, int64_t whole) {
  const double ratio = whole > 0 ? static_cast<double>(cost) / static_cast<double>(whole) : 1;
  return absl::StrCat(cost, " (", HumanCount(cost), ", ", Percent(ratio), ")");
}

}  // namespace

absl::StatusOr<v1::ModelInfo> DescribeModel(const std::string& name, const std::string& bytes,
                                            const Graph& graph,
                                            const LatticeOptions& lattice_options,
                                            const v1::PolicyFile* policy) {
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(graph));
  AMC_ASSIGN_OR_RETURN(const CostModel costs, CostModel::Create(graph, grouping));
  AMC_ASSIGN_OR_RETURN(const Lattice lattice, Lattice::Create(grouping, lattice_options));

  v1::ModelInfo info;
  info.set_name(name);
  info.set_opset(graph.opset());
  info.set_ir_version(graph.ir_version);
  info.set_producer(absl::StrCat(graph.producer_name, graph.producer_version.empty() ? "" : " ",
                                 graph.producer_version));
  info.set_bytes(static_cast<int64_t>(bytes.size()));
  info.set_sha256(Sha256Hex(bytes));
  info.set_input_shape(ShapesOf(graph, graph.inputs));
  info.set_output_shape(ShapesOf(graph, graph.outputs));

  const Cost whole = costs.Evaluate(costs.channels());
  const Cost minimum = costs.Evaluate(lattice.Minimum());
  info.set_macs(whole.macs);
  info.set_params(whole.params);
  info.set_minimum_macs(minimum.macs);
  info.set_minimum_params(minimum.params);
  for (const PruneGroup& group : grouping.groups) FillGroup(graph, group, *info.add_groups());
  for (const Barrier& barrier : grouping.barriers) {
    v1::Barrier& out = *info.add_barriers();
    out.set_where(barrier.where);
    out.set_reason(barrier.reason);
    out.set_channels(barrier.channels);
  }
  for (const LayerCost& layer : costs.Layers(costs.channels())) {
    const Node& node = graph.node(layer.node);
    v1::Layer& out = *info.add_layers();
    out.set_node(NodeLabel(graph, node));
    out.set_op(node.op_type);
    out.set_output_shape(ShapesOf(graph, {node.outputs.front()}));
    FillCost(layer.cost, *out.mutable_cost());
  }
  for (const NodeId id : UncountedLayers(graph)) {
    info.add_uncounted(NodeLabel(graph, graph.node(id)));
  }
  if (policy != nullptr) {
    Policy wanted;
    for (const auto& [group, kept] : policy->keep()) {
      wanted.decisions.push_back({.target = group, .kept = kept});
    }
    AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept, KeptCounts(wanted, grouping));
    for (const Decision& decision : MakePolicy(grouping, kept).decisions) {
      v1::Decision& out = *info.mutable_policy()->add_decisions();
      out.set_target(decision.target);
      out.set_granularity(v1::GRANULARITY_CHANNEL);
      out.set_kept(decision.kept);
    }
    FillCost(costs.Evaluate(kept), *info.mutable_policy_cost());
  }
  return info;
}

std::string ModelInfoText(const v1::ModelInfo& info, bool axes, bool layers) {
  std::string text = absl::StrCat(
      info.name(), ": ", HumanBytes(info.bytes()), ", ONNX opset ", info.opset(), ", ",
      info.input_shape(), " -> ", info.output_shape(), "\nMACs        ", info.macs(), " (",
      HumanCount(info.macs()), "), at least ", WithRatio(info.minimum_macs(), info.macs()),
      "\nparameters  ", info.params(), " (", HumanCount(info.params()), "), at least ",
      WithRatio(info.minimum_params(), info.params()), "\n");
  if (info.has_policy()) {
    absl::StrAppend(&text, "policy      ", WithRatio(info.policy_cost().macs(), info.macs()),
                    " MACs, ", WithRatio(info.policy_cost().params(), info.params()),
                    " parameters\n");
  }
  if (info.uncounted_size() > 0) {
    absl::StrAppend(&text, "not counted ", info.uncounted_size(),
                    " layers, whose costs come on top; the first: ", info.uncounted(0), "\n");
  }

  std::vector<Table::Column> columns = {{"group"},
                                        {"channels", Align::kRight},
                                        {"cells", Align::kRight},
                                        {"axes"},
                                        {"first read by"}};
  if (info.has_policy()) columns.insert(columns.begin() + 2, {"kept", Align::kRight});
  Table groups(std::move(columns));
  for (int i = 0; i < info.groups_size(); ++i) {
    const v1::Group& group = info.groups(i);
    std::vector<std::string> row = {group.name(), absl::StrCat(group.channels()),
                                    absl::StrCat(group.cells()), AxisSummary(group),
                                    FirstConsumer(group)};
    if (info.has_policy()) {
      row.insert(row.begin() + 2, absl::StrCat(info.policy().decisions(i).kept()));
    }
    groups.AddRow(std::move(row));
  }
  absl::StrAppend(&text, "\n", info.groups_size(), " groups of channels that go together:\n",
                  groups.ToString());

  if (axes) {
    for (const v1::Group& group : info.groups()) {
      Table table(
          {{"tensor"}, {"dim", Align::kRight}, {"role"}, {"slots", Align::kRight}, {"node"}});
      for (const v1::GroupAxis& axis : group.axes()) {
        table.AddRow({axis.tensor(), absl::StrCat(axis.dim()), axis.role(),
                      absl::StrCat(axis.slots_per_channel()), axis.node()});
      }
      absl::StrAppend(&text, "\n", group.name(), " (", group.channels(), " channels):\n",
                      table.ToString());
    }
  }
  if (layers) {
    Table table({{"layer"}, {"output"}, {"MACs", Align::kRight}, {"parameters", Align::kRight}});
    for (const v1::Layer& layer : info.layers()) {
      table.AddRow({layer.node(), layer.output_shape(), absl::StrCat(layer.cost().macs()),
                    absl::StrCat(layer.cost().params())});
    }
    absl::StrAppend(&text, "\n", table.ToString());
  }
  if (info.barriers_size() > 0) {
    Table table({{"stays whole at"}, {"channels", Align::kRight}, {"because"}});
    for (const v1::Barrier& barrier : info.barriers()) {
      table.AddRow({barrier.where(), absl::StrCat(barrier.channels()), barrier.reason()});
    }
    absl::StrAppend(&text, "\n", table.ToString());
  }
  return text;
}

}  // namespace amc
