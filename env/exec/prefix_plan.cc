#include "env/exec/prefix_plan.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

namespace amc {
namespace {

bool SameBytes(const std::shared_ptr<const Buffer>& a, const std::shared_ptr<const Buffer>& b) {
  return a == b || (a != nullptr && b != nullptr && *a == *b);
}

bool SameAttribute(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return false;
  if (const auto* const x = std::get_if<TensorValue>(&a)) {
    const auto& y = std::get<TensorValue>(b);
    return x->type == y.type && x->shape == y.shape && SameBytes(x->data, y.data);
  }
  if (const auto* const x = std::get_if<OpaqueAttribute>(&a)) {
    return x->bytes == std::get<OpaqueAttribute>(b).bytes;
  }
  return std::visit(
      [&b](const auto& x) {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, TensorValue> || std::is_same_v<T, OpaqueAttribute>) {
          return false;  // compared above
        } else {
          return x == std::get<T>(b);
        }
      },
      a);
}

bool SameNode(const Graph& a, const Graph& b, NodeId id) {
  const Node &x = a.node(id), &y = b.node(id);
  if (x.domain != y.domain || x.op_type != y.op_type || x.inputs != y.inputs ||
      x.outputs != y.outputs || x.attributes.size() != y.attributes.size()) {
    return false;
  }
  for (const auto& [name, value] : x.attributes) {
    const auto found = y.attributes.find(name);
    if (found == y.attributes.end() || !SameAttribute(value, found->second)) return false;
  }
  return std::all_of(x.inputs.begin(), x.inputs.end(), [&](TensorId input) {
    if (input == TensorId::kNone) return true;
    const Tensor &s = a.tensor(input), &t = b.tensor(input);
    if (!s.is_constant && !t.is_constant) return true;
    return s.is_constant == t.is_constant && s.type == t.type && s.shape == t.shape &&
           SameBytes(s.data, t.data);
  });
}

// Of one image; nothing if its shape is missing.
std::optional<int64_t> ElementsOf(const Tensor& tensor) {
  if (!tensor.shape_known) return std::nullopt;
  const absl::StatusOr<int64_t> elements = NumElements(tensor.shape);
  return elements.ok() ? std::optional<int64_t>(*elements) : std::nullopt;
}

}  // namespace

size_t CommonPrefix(const Graph& original, const Graph& changed) {
  if (original.nodes.size() != changed.nodes.size()) return 0;
  const std::vector<NodeId> producers = Producers(original);
  size_t common = original.nodes.size();
  for (size_t n = 0; n < original.nodes.size(); ++n) {
    const NodeId id = original.node_id(n);
    if (SameNode(original, changed, id)) continue;
    common = std::min(common, n);
    const Node& node = original.node(id);
    if (node.op != Op::kBatchNormalization || node.inputs[0] == TensorId::kNone) continue;
    const NodeId layer = producers[Index(node.inputs[0])];  // it may be folded into this one
    if (layer != NodeId::kNone) common = std::min(common, Index(layer));
  }
  return common;
}

std::vector<size_t> FirstNodes(const Grouping& grouping) {
  std::set<size_t> first_nodes;
  for (const PruneGroup& group : grouping.groups) {
    size_t first = std::numeric_limits<size_t>::max();
    for (const GroupAxis& axis : group.axes) {
      if (axis.node != NodeId::kNone) first = std::min(first, Index(axis.node));
    }
    if (first != std::numeric_limits<size_t>::max()) first_nodes.insert(first);
  }
  return {first_nodes.begin(), first_nodes.end()};
}

PrefixPlan::PrefixPlan(const Graph& graph, absl::Span<const size_t> cuts, int64_t images,
                       int64_t max_bytes) {
  if (graph.inputs.size() != 1 || images < 1) return;
  const Tensor& input = graph.tensor(graph.inputs[0]);
  if (input.shape.empty() || input.shape[0] != kDynamic) return;
  const std::vector<NodeId> producers = Producers(graph);
  const std::vector<std::vector<NodeId>> consumers = Consumers(graph);
  // By tensor, how many nodes have run when it is needed no more; 0 for constants and unread ones.
  std::vector<size_t> dead(graph.tensors.size(), 0);
  for (size_t t = 0; t < graph.tensors.size(); ++t) {
    if (!graph.tensors[t].is_constant && !consumers[t].empty()) {
      dead[t] = Index(consumers[t].back()) + 1;
    }
  }
  for (const TensorId output : graph.outputs) dead[Index(output)] = graph.nodes.size() + 1;
  const int64_t bytes_per_value = static_cast<int64_t>(sizeof(float)) * images;
  int64_t left = max_bytes / bytes_per_value;  // values of one image
  std::set<TensorId> kept;
  std::vector<size_t> latest_first(cuts.begin(), cuts.end());
  std::sort(latest_first.rbegin(), latest_first.rend());
  for (const size_t cut : latest_first) {
    if (cut == 0 || cut > graph.nodes.size() || dead[Index(graph.inputs[0])] > cut) continue;
    std::vector<TensorId> alive;
    int64_t more = 0;
    bool fits = true;
    for (size_t t = 0; t < graph.tensors.size() && fits; ++t) {
      const auto id = static_cast<TensorId>(t);
      if (dead[t] <= cut || producers[t] == NodeId::kNone || Index(producers[t]) >= cut) continue;
      alive.push_back(id);
      if (kept.count(id) != 0) continue;
      const std::optional<int64_t> elements = ElementsOf(graph.tensors[t]);
      fits = elements.has_value() && *elements <= left - more;
      if (fits) more += *elements;
    }
    if (!fits || alive.empty()) continue;
    left -= more;
    bytes_ += more * bytes_per_value;
    kept.insert(alive.begin(), alive.end());
    alive_[cut] = std::move(alive);
  }
  kept_.assign(kept.begin(), kept.end());
}

size_t PrefixPlan::StartWithin(size_t common) const {
  const auto after = alive_.upper_bound(common);
  return after == alive_.begin() ? 0 : std::prev(after)->first;
}

std::vector<size_t> PrefixPlan::cuts() const {
  std::vector<size_t> cuts;
  for (const auto& [cut, alive] : alive_) cuts.push_back(cut);
  return cuts;
}

}  // namespace amc
