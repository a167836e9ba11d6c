#include "env/cost/cost_model.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/cost/parameters.h"

namespace amc {
namespace {

constexpr absl::int128 kMaxCost = absl::int128{1} << 62;

absl::Status CheckFits(absl::int128 macs, absl::int128 params) {
  if (macs <= kMaxCost && params <= kMaxCost) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cost overflows 2^62: about ",
                                                 static_cast<double>(macs), " MACs and ",
                                                 static_cast<double>(params), " parameters"));
}

class ResourceFunction final : public CostFunction {
 public:
  ResourceFunction(const CostModel& model, Resource resource)
      : model_(model), resource_(resource) {}
  int64_t Evaluate(absl::Span<const int64_t> kept) const override {
    return model_.Evaluate(resource_, kept);
  }
  bool monotone() const override { return true; }  // all coefficients are positive

 private:
  const CostModel& model_;
  const Resource resource_;
};

}  // namespace

absl::string_view ResourceName(Resource resource) {
  switch (resource) {
    case Resource::kMacs:
      return "macs";
    case Resource::kParams:
      return "params";
  }
  return "unknown";
}

// Collects the terms of a graph; each distinct axis becomes one extent, and the terms of the whole
// network that share a pair of axes become one.
class CostModel::Builder {
 public:
  Builder(const Graph& graph, const Grouping& grouping) : graph_(graph) {
    for (const PruneGroup& group : grouping.groups) model_.channels_.push_back(group.channels);
    for (const ChannelAxis& axis : grouping.axes) axes_[{axis.tensor, axis.dim}] = &axis;
    Intern(1, {});
  }

  // A parameter is a matrix (rows, columns) of blocks; dimensions along which nothing can be
  // removed make up the block.
  void Add(const Parameter& parameter) {
    const Shape& shape = graph_.tensor(parameter.tensor).shape;
    std::vector<const ChannelAxis*> axes;
    int64_t block = 1;
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      const auto found = axes_.find({parameter.tensor, static_cast<int>(dim)});
      if (found != axes_.end() && !IsWhole(*found->second)) {
        axes.push_back(found->second);
      } else {
        block *= shape[dim];
      }
    }
    AMC_CHECK(axes.size() <= 2) << graph_.tensor(parameter.tensor).name << ": " << axes.size()
                                << " channel axes";
    Term term{.macs = block * parameter.macs_per_element, .params = parameter.counts ? block : 0};
    for (const ChannelAxis* axis : axes) {
      const bool is_column = axis->conv_groups > 1 || term.rows != 0;
      (is_column ? term.columns : term.rows) = ExtentOf(*axis);
      if (axis->conv_groups > 1) term.divisor = axis->conv_groups;
    }
    model_.layers_.push_back({parameter.node, term});
    const auto [merged, is_new] =
        merged_.try_emplace({term.rows, term.columns, term.divisor}, model_.terms_.size());
    if (is_new) {
      model_.terms_.push_back(term);
    } else {
      model_.terms_[merged->second].macs += term.macs;
      model_.terms_[merged->second].params += term.params;
    }
  }

  CostModel Build() && { return std::move(model_); }

 private:
  using Weights = std::map<int32_t, int64_t>;  // group to slots per channel

  static bool IsWhole(const ChannelAxis& axis) {
    return std::all_of(axis.slots.begin(), axis.slots.end(),
                       [](const ChannelRef& slot) { return slot.group == ChannelRef::kWhole; });
  }

  int32_t ExtentOf(const ChannelAxis& axis) {
    int64_t whole = 0;
    Weights slots;
    for (const ChannelRef& slot : axis.slots) {
      ++(slot.group == ChannelRef::kWhole ? whole : slots[slot.group]);
    }
    for (auto& [group, count] : slots) count /= model_.channels_[group];
    return Intern(whole, slots);
  }

  int32_t Intern(int64_t constant, const Weights& weights) {
    const auto [found, is_new] =
        interned_.try_emplace({constant, weights}, static_cast<int32_t>(model_.extents_.size()));
    if (is_new) {
      const auto begin = static_cast<int32_t>(model_.entries_.size());
      for (const auto& [group, weight] : weights) model_.entries_.push_back({group, weight});
      model_.extents_.push_back({constant, begin, begin + static_cast<int32_t>(weights.size())});
    }
    return found->second;
  }

  const Graph& graph_;
  CostModel model_;
  std::map<std::pair<TensorId, int>, const ChannelAxis*> axes_;
  std::map<std::pair<int64_t, Weights>, int32_t> interned_;
  std::map<std::tuple<int32_t, int32_t, int64_t>, size_t> merged_;
};

absl::StatusOr<CostModel> CostModel::Create(const Graph& graph, const Grouping& grouping) {
  AMC_RETURN_IF_ERROR(CountCost(graph).status());  // nothing below overflows if this does not
  AMC_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, ListParameters(graph));
  Builder builder(graph, grouping);
  for (const Parameter& parameter : parameters) builder.Add(parameter);
  return std::move(builder).Build();
}

int64_t CostModel::Length(const Extent& extent, absl::Span<const int64_t> kept) const {
  int64_t length = extent.constant;
  for (int32_t e = extent.begin; e < extent.end; ++e) {
    length += entries_[e].weight * kept[entries_[e].group];
  }
  return length;
}

template <typename Add>
void CostModel::ForEachTerm(absl::Span<const int64_t> kept, Add add) const {
  AMC_CHECK(kept.size() == channels_.size())
      << kept.size() << " counts for " << channels_.size() << " groups";
  absl::InlinedVector<int64_t, 256> lengths(extents_.size());
  for (size_t e = 0; e < extents_.size(); ++e) lengths[e] = Length(extents_[e], kept);
  for (const Term& term : terms_) {
    const int64_t columns = lengths[term.columns];
    add(term, lengths[term.rows] * (term.divisor == 1 ? columns : columns / term.divisor));
  }
}

Cost CostModel::Evaluate(absl::Span<const int64_t> kept) const {
  Cost cost;
  ForEachTerm(kept, [&cost](const Term& term, int64_t elements) {
    cost.macs += term.macs * elements;
    cost.params += term.params * elements;
  });
  return cost;
}

int64_t CostModel::Evaluate(Resource resource, absl::Span<const int64_t> kept) const {
  return Evaluate(kept).of(resource);
}

std::vector<LayerCost> CostModel::Layers(absl::Span<const int64_t> kept) const {
  AMC_CHECK(kept.size() == channels_.size())
      << kept.size() << " counts for " << channels_.size() << " groups";
  std::vector<LayerCost> layers;
  for (const auto& [node, term] : layers_) {
    if (layers.empty() || layers.back().node != node) layers.push_back({node, {}});
    const int64_t elements =
        Length(extents_[term.rows], kept) * (Length(extents_[term.columns], kept) / term.divisor);
    layers.back().cost.macs += term.macs * elements;
    layers.back().cost.params += term.params * elements;
  }
  return layers;
}

std::unique_ptr<CostFunction> CostModel::Function(Resource resource) const {
  return std::make_unique<ResourceFunction>(*this, resource);
}

absl::StatusOr<Cost> CountCost(const Graph& graph) {
  AMC_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, ListParameters(graph));
  absl::int128 macs = 0;
  absl::int128 params = 0;
  for (const Parameter& parameter : parameters) {
    AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(graph.tensor(parameter.tensor).shape));
    macs += absl::int128{elements} * parameter.macs_per_element;
    if (parameter.counts) params += elements;
    AMC_RETURN_IF_ERROR(CheckFits(macs, params));
  }
  return Cost{.macs = static_cast<int64_t>(macs), .params = static_cast<int64_t>(params)};
}

absl::StatusOr<int64_t> CountMacs(const Graph& graph, size_t first, size_t end) {
  AMC_RETURN_IF_ERROR(CountCost(graph).status());  // nothing below overflows if this does not
  AMC_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, ListParameters(graph));
  int64_t macs = 0;
  for (const Parameter& parameter : parameters) {
    if (Index(parameter.node) < first || Index(parameter.node) >= end) continue;
    AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(graph.tensor(parameter.tensor).shape));
    macs += elements * parameter.macs_per_element;
  }
  return macs;
}

}  // namespace amc
