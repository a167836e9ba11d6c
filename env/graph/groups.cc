// From united atoms to groups: classes, their signatures, cells, names.
//
// Classes of atoms are told apart by partition refinement: all start alike, and every axis splits
// them by how many slots of it they fill. What is still alike after the last axis appears equally
// often everywhere and forms a group.
#include "env/graph/groups.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/channel_flow.h"

namespace amc {
namespace {

constexpr int32_t kNoClass = -1;

// The blocks that a grouped convolution cuts one of its axes into; each must keep equally many.
struct BalancedAxis {
  const FlowAxis* axis;
  int64_t blocks;
};

class GroupBuilder {
 public:
  GroupBuilder(const Graph& graph, ChannelFlow flow) : graph_(graph), flow_(std::move(flow)) {}

  Grouping Build() && {
    NumberClasses();
    for (const FrozenAtoms& frozen : flow_.frozen) AddBarrier(frozen);
    FormGroups();
    FindReaders();
    FreezeUnread();
    FindCells();
    Emit();
    return std::move(result_);
  }

 private:
  struct Draft {
    PruneGroup group;
    std::vector<int32_t> classes;  // one per channel
    bool frozen = false;
  };

  // Classes count up in the order in which the walk first meets them.
  void NumberClasses() {
    std::vector<int32_t> class_of_root(flow_.sets.size(), kNoClass);
    classes_.reserve(flow_.axes.size());
    for (const FlowAxis& axis : flow_.axes) {
      std::vector<int32_t>& slots = classes_.emplace_back(axis.atoms.size());
      for (size_t s = 0; s < slots.size(); ++s) {
        int32_t& number = class_of_root[flow_.sets.Find(axis.atoms[s])];
        if (number == kNoClass) number = num_classes_++;
        slots[s] = number;
      }
    }
    class_of_root_ = std::move(class_of_root);
    frozen_.assign(num_classes_, false);
  }

  void AddBarrier(const FrozenAtoms& frozen) {
    std::vector<int32_t> classes;
    for (const int32_t atom : frozen.atoms) {
      const int32_t number = class_of_root_[flow_.sets.Find(atom)];
      if (number == kNoClass) continue;  // on no axis at all
      classes.push_back(number);
      frozen_[number] = true;
    }
    if (classes.empty()) return;
    std::sort(classes.begin(), classes.end());
    classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
    result_.barriers.push_back({.node = frozen.node,
                                .where = frozen.where,
                                .reason = frozen.reason,
                                .channels = static_cast<int64_t>(classes.size())});
  }

  void FormGroups() {
    std::vector<int32_t> label(num_classes_, 0);
    std::vector<int64_t> count(num_classes_, 0);
    int32_t labels = 1;
    for (const std::vector<int32_t>& slots : classes_) {
      std::vector<int32_t> touched;
      for (const int32_t c : slots) {
        if (count[c]++ == 0) touched.push_back(c);
      }
      absl::flat_hash_map<std::pair<int32_t, int64_t>, int32_t> refined;
      for (const int32_t c : touched) {
        const auto [found, is_new] = refined.try_emplace({label[c], count[c]}, labels);
        if (is_new) ++labels;
        label[c] = found->second;
        count[c] = 0;
      }
    }
    group_of_class_.assign(num_classes_, ChannelRef::kWhole);
    index_of_class_.assign(num_classes_, 0);
    std::vector<int32_t> draft_of_label(labels, -1);
    for (int32_t c = 0; c < num_classes_; ++c) {
      if (frozen_[c]) continue;
      int32_t& draft = draft_of_label[label[c]];
      if (draft < 0) {
        draft = static_cast<int32_t>(drafts_.size());
        drafts_.emplace_back();
      }
      group_of_class_[c] = draft;
      index_of_class_[c] = static_cast<int32_t>(drafts_[draft].classes.size());
      drafts_[draft].classes.push_back(c);
    }
  }

  // Fills axes, producers and consumers.
  void FindReaders() {
    std::vector<int64_t> slots_of(drafts_.size(), 0);
    for (size_t a = 0; a < classes_.size(); ++a) {
      const FlowAxis& axis = flow_.axes[a];
      std::vector<int32_t> touched;
      for (const int32_t c : classes_[a]) {
        const int32_t g = group_of_class_[c];
        if (g != ChannelRef::kWhole && slots_of[g]++ == 0) touched.push_back(g);
      }
      for (const int32_t g : touched) {
        Draft& draft = drafts_[g];
        const auto channels = static_cast<int64_t>(draft.classes.size());
        draft.group.axes.push_back({.tensor = axis.tensor,
                                    .dim = axis.dim,
                                    .role = axis.role,
                                    .node = axis.node,
                                    .slots_per_channel = slots_of[g] / channels});
        slots_of[g] = 0;
        for (const NodeId reader : NodesOf(axis)) {
          if (axis.role == AxisRole::kOutput) draft.group.producers.push_back(reader);
          if (axis.role == AxisRole::kInput) draft.group.consumers.push_back(reader);
        }
      }
    }
    for (Draft& draft : drafts_) {
      for (std::vector<NodeId>* nodes : {&draft.group.producers, &draft.group.consumers}) {
        std::sort(nodes->begin(), nodes->end());
        nodes->erase(std::unique(nodes->begin(), nodes->end()), nodes->end());
      }
    }
  }

  // The mixing layers that read a weight: several if they share it.
  std::vector<NodeId> NodesOf(const FlowAxis& axis) {
    if (axis.role != AxisRole::kOutput && axis.role != AxisRole::kInput) return {};
    if (readers_.empty()) readers_ = Consumers(graph_);
    std::vector<NodeId> nodes;
    for (const NodeId id : readers_[Index(axis.tensor)]) {
      if (graph_.node(id).inputs[1] == axis.tensor && IsMixing(graph_, graph_.node(id))) {
        nodes.push_back(id);
      }
    }
    return nodes;
  }

  void Freeze(Draft& draft, NodeId node, std::string reason) {
    draft.frozen = true;
    for (const int32_t c : draft.classes) group_of_class_[c] = ChannelRef::kWhole;
    result_.barriers.push_back({.node = node,
                                .where = NodeLabel(graph_, graph_.node(node)),
                                .reason = std::move(reason),
                                .channels = static_cast<int64_t>(draft.classes.size())});
  }

  // Channels that no mixing layer reads are of no use to a search, which decides at consumers.
  void FreezeUnread() {
    for (Draft& draft : drafts_) {
      if (draft.group.consumers.empty()) {
        Freeze(draft, draft.group.axes[0].node,
               "no convolution or linear layer reads its channels");
      }
    }
  }

  std::vector<BalancedAxis> BalancedAxes() const {
    std::map<TensorId, int64_t> blocks;
    for (const FlowAxis& axis : flow_.axes) {
      if (axis.conv_groups > 1) blocks[axis.tensor] = axis.conv_groups;
    }
    std::vector<BalancedAxis> balanced;
    for (const FlowAxis& axis : flow_.axes) {
      const auto found = blocks.find(axis.tensor);
      if (found != blocks.end()) balanced.push_back({&axis, found->second});
    }
    return balanced;
  }

  // A channel's cell is the tuple of blocks that it falls into, over all axes of grouped
  // convolutions. Keeping equally many of every cell keeps the blocks equal if the cells are
  // equally large and the whole group fills every block equally.
  void FindCells() {
    std::vector<std::vector<std::pair<int32_t, int64_t>>> blocks_of_class(num_classes_);
    int32_t number = 0;
    for (const auto& [axis, blocks] : BalancedAxes()) {
      const int64_t block_size = static_cast<int64_t>(axis->atoms.size()) / blocks;
      std::map<int32_t, std::vector<int64_t>> filled;  // group to slots per block
      for (size_t s = 0; s < axis->atoms.size(); ++s) {
        const int32_t c = class_of_root_[flow_.sets.Find(axis->atoms[s])];
        const int32_t g = group_of_class_[c];
        if (g == ChannelRef::kWhole) continue;
        const int64_t block = static_cast<int64_t>(s) / block_size;
        blocks_of_class[c].emplace_back(number, block);
        ++filled.try_emplace(g, blocks, 0).first->second[block];
      }
      for (const auto& [g, slots] : filled) {
        if (std::adjacent_find(slots.begin(), slots.end(), std::not_equal_to<>()) != slots.end()) {
          Freeze(drafts_[g], axis->node,
                 absl::StrCat("its ", blocks, " groups do not take equally many of the channels"));
        }
      }
      ++number;
    }
    for (Draft& draft : drafts_) {
      if (!draft.frozen) AssignCells(draft, blocks_of_class);
    }
  }

  void AssignCells(Draft& draft,
                   const std::vector<std::vector<std::pair<int32_t, int64_t>>>& blocks_of_class) {
    std::map<std::vector<std::pair<int32_t, int64_t>>, int32_t> cells;
    std::vector<int64_t> size;
    for (const int32_t c : draft.classes) {
      const auto [found, is_new] =
          cells.try_emplace(blocks_of_class[c], static_cast<int32_t>(cells.size()));
      if (is_new) size.push_back(0);
      ++size[found->second];
      draft.group.cell_of_channel.push_back(found->second);
    }
    draft.group.cells = static_cast<int64_t>(cells.size());
    const auto [least, most] = std::minmax_element(size.begin(), size.end());
    if (*least != *most) {
      Freeze(draft, draft.group.consumers[0],
             absl::StrCat("grouped convolutions cut the channels into ", cells.size(), " cells of ",
                          *least, " to ", *most));
    }
  }

  // Orders the groups that are left, names them and writes the axes' slots.
  void Emit() {
    std::vector<int32_t> order;
    for (size_t d = 0; d < drafts_.size(); ++d) {
      if (!drafts_[d].frozen) order.push_back(static_cast<int32_t>(d));
    }
    const auto key = [this](int32_t d) {
      return std::pair(drafts_[d].group.consumers[0], drafts_[d].classes[0]);
    };
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return key(a) < key(b); });
    std::vector<int32_t> position(drafts_.size(), ChannelRef::kWhole);
    absl::flat_hash_set<std::string> names;
    for (const int32_t d : order) {
      position[d] = static_cast<int32_t>(result_.groups.size());
      PruneGroup& group = result_.groups.emplace_back(std::move(drafts_[d].group));
      group.channels = static_cast<int64_t>(drafts_[d].classes.size());
      group.name = UniqueName(group, names);
    }
    for (size_t a = 0; a < classes_.size(); ++a) {
      const FlowAxis& flow = flow_.axes[a];
      ChannelAxis axis{flow.tensor, flow.dim, flow.conv_groups, {}};
      axis.slots.reserve(classes_[a].size());
      for (const int32_t c : classes_[a]) {
        const int32_t d = group_of_class_[c];
        axis.slots.push_back(d == ChannelRef::kWhole ? ChannelRef{}
                                                     : ChannelRef{position[d], index_of_class_[c]});
      }
      result_.axes.push_back(std::move(axis));
    }
    std::sort(result_.axes.begin(), result_.axes.end(),
              [](const ChannelAxis& a, const ChannelAxis& b) {
                return std::pair(a.tensor, a.dim) < std::pair(b.tensor, b.dim);
              });
    MarkResidualPaths();
  }

  void MarkResidualPaths() {
    for (const Node& node : graph_.nodes) {
      if (node.op != Op::kAdd || node.inputs.size() != 2 || node.inputs[0] == node.inputs[1]) {
        continue;
      }
      const absl::flat_hash_set<int32_t> left = GroupsOf(node.inputs[0]);
      for (const int32_t group : GroupsOf(node.inputs[1])) {
        if (left.contains(group)) result_.groups[group].residual = true;
      }
    }
  }

  // The groups in an activation's axes; of constants none.
  absl::flat_hash_set<int32_t> GroupsOf(TensorId tensor) const {
    absl::flat_hash_set<int32_t> groups;
    if (graph_.tensor(tensor).is_constant) return groups;
    auto axis = std::lower_bound(
        result_.axes.begin(), result_.axes.end(), tensor,
        [](const ChannelAxis& candidate, TensorId id) { return candidate.tensor < id; });
    for (; axis != result_.axes.end() && axis->tensor == tensor; ++axis) {
      for (const ChannelRef& slot : axis->slots) {
        if (slot.group != ChannelRef::kWhole) groups.insert(slot.group);
      }
    }
    return groups;
  }

  std::string UniqueName(const PruneGroup& group, absl::flat_hash_set<std::string>& names) const {
    const NodeId first = group.producers.empty() ? group.axes[0].node : group.producers[0];
    const Node& node = graph_.node(first);
    const std::string base = node.name.empty() ? graph_.tensor(node.outputs[0]).name : node.name;
    std::string name = base;
    for (int n = 2; !names.insert(name).second; ++n) name = absl::StrCat(base, "#", n);
    return name;
  }

  const Graph& graph_;
  ChannelFlow flow_;
  Grouping result_;
  int32_t num_classes_ = 0;
  std::vector<int32_t> class_of_root_;
  std::vector<std::vector<int32_t>> classes_;             // of the slots of every axis
  std::vector<bool> frozen_;                              // by class
  std::vector<int32_t> group_of_class_, index_of_class_;  // in drafts_; kWhole if frozen
  std::vector<Draft> drafts_;
  std::vector<std::vector<NodeId>> readers_;
};

}  // namespace

const ChannelAxis* Grouping::FindAxis(TensorId tensor, int dim) const {
  const auto found = std::lower_bound(axes.begin(), axes.end(), std::pair(tensor, dim),
                                      [](const ChannelAxis& axis, const auto& key) {
                                        return std::pair(axis.tensor, axis.dim) < key;
                                      });
  const bool hit = found != axes.end() && found->tensor == tensor && found->dim == dim;
  return hit ? &*found : nullptr;
}

int Grouping::FindGroup(absl::string_view name) const {
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].name == name) return static_cast<int>(g);
  }
  return -1;
}

absl::StatusOr<Grouping> BuildGroups(const Graph& graph) {
  AMC_ASSIGN_OR_RETURN(ChannelFlow flow, TraceChannels(graph));
  return GroupBuilder(graph, std::move(flow)).Build();
}

}  // namespace amc
