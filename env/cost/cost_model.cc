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
  return absl::InvalidArgumentError(
      absl::StrCat("cost overflows 2^62: about ", static_cast<double>(macs), " MACs and ",
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

// Collects the terms of a graph, each distinct axis and each distinct pair of axes once.
class CostModel::Builder {
 public:
  Builder(const Graph& graph, const Grouping& grouping) : graph_(graph) {
    for (const PruneGroup& group : grouping.groups) model_.channels_.push_back(group.channels);
    for (const ChannelAxis& axis : grouping.axes) axes_[{axis.tensor, axis.dim}] = &axis;
    AddExtent(1, {});
  }

  void Add(const Parameter& parameter) {
    const Shape& shape = graph_.tensor(parameter.tensor).shape;
    // A parameter is a matrix (rows, columns) of `rest` elements each; an axis that no group
    // reaches is part of the constant.
    Term term{.divisor = 1};
    int64_t rest = 1;
    int found = 0;
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      const auto axis = axes_.find({parameter.tensor, static_cast<int>(dim)});
      if (axis == axes_.end()) {
        rest *= shape[dim];
        continue;
      }
      AMC_CHECK(found < 2) << graph_.tensor(parameter.tensor).name << " has three channel axes";
      (found++ == 0 ? term.rows : term.columns) = ExtentOf(*axis->second);
      if (axis->second->conv_groups > 1) {
        // The divided axis must be `columns`.
        if (found == 1) std::swap(term.rows, term.columns);
        term.divisor = axis->second->conv_groups;
      }
    }
    term.macs = rest * parameter.macs_per_element;
    term.params = parameter.counts ? rest : 0;
    model_.layers_.push_back({parameter.node, term});
    Term& merged = merged_.try_emplace({term.rows, term.columns, term.divisor}, term).first->second;
    if (Term& sum = merged; seen_.insert({term.rows, term.columns, term.divisor}).second) {
      sum = term;
    } else {
      sum.macs += term.macs;
      sum.params += term.params;
    }
  }
};

}  // namespace amc
