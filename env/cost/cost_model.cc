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
    if (resource_ == Resource::kModelBytes) return model_.ModelBytes(kept);
    const Cost cost = model_.Evaluate(kept);
    return resource_ == Resource::kMacs ? cost.macs : cost.params;
  }
  bool monotone() const override { return true; }  // all coefficients are positive
  bool bilinear() const override { return true; }

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
    case Resource::kActivationBytes:
      return "activation_bytes";
    case Resource::kModelBytes:
      return "model_bytes";
    case Resource::kLatency:
      return "latency";
    case Resource::kNonZeros:
      return "nonzeros";
  }
  return "unknown";
}

int64_t CostFunction::EvaluateChange(absl::Span<const int64_t> kept, int64_t /*now*/, int32_t group,
                                     int64_t count) const {
  absl::InlinedVector<int64_t, 256> changed(kept.begin(), kept.end());
  changed[static_cast<size_t>(group)] = count;
  return Evaluate(changed);
}

// Collects the terms of a graph; each distinct axis becomes one extent, and the terms of the whole
// network that share a pair of axes become one.
class CostModel::Builder {
 public:
  Builder(const Graph& graph, const Grouping& grouping) : graph_(graph) {
    model_.extents_ = Extents(grouping);
    for (const ChannelAxis& axis : grouping.axes) axes_[{axis.tensor, axis.dim}] = &axis;
  }

  void Add(const Parameter& parameter) {
    Term term = TermOf(parameter.tensor);
    const int64_t block = term.bytes;
    term.macs = block * parameter.macs_per_element;
    term.params = parameter.counts ? block : 0;
    term.bytes = 0;
    model_.layers_.push_back({parameter.node, term});
    Merge(term);
  }

  // Its bytes, whatever it is for.
  void AddConstant(TensorId tensor) {
    Term term = TermOf(tensor);
    term.bytes *= ElementSize(graph_.tensor(tensor).type);
    Merge(term);
  }

  CostModel Build() && { return std::move(model_); }

 private:
  static bool IsWhole(const ChannelAxis& axis) {
    return std::all_of(axis.slots.begin(), axis.slots.end(),
                       [](const ChannelRef& slot) { return slot.group == ChannelRef::kWhole; });
  }

  // A constant is a matrix (rows, columns) of blocks; dimensions along which nothing can be removed
  // make up the block, whose size the term's `bytes` has.
  Term TermOf(TensorId tensor) {
    const Shape& shape = graph_.tensor(tensor).shape;
    std::vector<const ChannelAxis*> axes;
    Term term{.bytes = 1};
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      const auto found = axes_.find({tensor, static_cast<int>(dim)});
      if (found != axes_.end() && !IsWhole(*found->second)) {
        axes.push_back(found->second);
      } else {
        term.bytes *= shape[dim];
      }
    }
    AMC_CHECK(axes.size() <= 2) << graph_.tensor(tensor).name << ": " << axes.size()
                                << " channel axes";
    for (const ChannelAxis* axis : axes) {
      const bool is_column = axis->conv_groups > 1 || term.rows != Extents::kOne;
      (is_column ? term.columns : term.rows) = model_.extents_.Of(*axis);
      if (axis->conv_groups > 1) term.divisor = axis->conv_groups;
    }
    return term;
  }

  void Merge(const Term& term) {
    const auto [merged, is_new] =
        merged_.try_emplace({term.rows, term.columns, term.divisor}, model_.terms_.size());
    if (is_new) {
      model_.terms_.push_back(term);
    } else {
      Term& sum = model_.terms_[merged->second];
      sum.macs += term.macs;
      sum.params += term.params;
      sum.bytes += term.bytes;
    }
  }

  const Graph& graph_;
  CostModel model_;
  std::map<std::pair<TensorId, int>, const ChannelAxis*> axes_;
  std::map<std::tuple<Extents::Id, Extents::Id, int64_t>, size_t> merged_;
};

absl::StatusOr<CostModel> CostModel::Create(const Graph& graph, const Grouping& grouping) {
  AMC_RETURN_IF_ERROR(CountCost(graph).status());  // nothing below overflows if this does not
  AMC_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, ListParameters(graph));
  Builder builder(graph, grouping);
  for (const Parameter& parameter : parameters) builder.Add(parameter);
  AMC_RETURN_IF_ERROR(CountModelBytes(graph).status());
  for (size_t t = 0; t < graph.tensors.size(); ++t) {
    if (graph.tensors[t].is_constant) builder.AddConstant(static_cast<TensorId>(t));
  }
  return std::move(builder).Build();
}

template <typename Add>
void CostModel::ForEachTerm(absl::Span<const int64_t> kept, Add add) const {
  AMC_CHECK(kept.size() == num_groups())
      << kept.size() << " counts for " << num_groups() << " groups";
  absl::InlinedVector<int64_t, 256> lengths(extents_.size());
  for (size_t e = 0; e < extents_.size(); ++e) {
    lengths[e] = extents_.Length(static_cast<Extents::Id>(e), kept);
  }
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

int64_t CostModel::ModelBytes(absl::Span<const int64_t> kept) const {
  int64_t bytes = 0;
  ForEachTerm(kept,
              [&bytes](const Term& term, int64_t elements) { bytes += term.bytes * elements; });
  return bytes;
}

std::vector<LayerCost> CostModel::Layers(absl::Span<const int64_t> kept) const {
  AMC_CHECK(kept.size() == num_groups())
      << kept.size() << " counts for " << num_groups() << " groups";
  std::vector<LayerCost> layers;
  for (const auto& [node, term] : layers_) {
    if (layers.empty() || layers.back().node != node) layers.push_back({node, {}});
    const int64_t elements =
        extents_.Length(term.rows, kept) * (extents_.Length(term.columns, kept) / term.divisor);
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

absl::StatusOr<int64_t> CountModelBytes(const Graph& graph) {
  absl::int128 bytes = 0;
  for (const Tensor& tensor : graph.tensors) {
    if (!tensor.is_constant) continue;
    AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(tensor.shape));
    bytes += absl::int128{elements} * ElementSize(tensor.type);
    if (bytes > kMaxCost) {
      return absl::InvalidArgumentError(
          absl::StrCat(tensor.name, ": the constants' bytes overflow 2^62"));
    }
  }
  return static_cast<int64_t>(bytes);
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
