#include "env/sparse_space.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "env/graph/layer_weights.h"

namespace amc {
namespace {

constexpr size_t kShown = 5;  // names in a message

// What a sum of costs is, one addend for each group: a table by the group's count.
class SeparableCost : public CostFunction {
 public:
  // `tables[g][k]` for k kept, from 0 (which is never asked for) to the whole group.
  SeparableCost(int64_t constant, std::vector<std::vector<int64_t>> tables)
      : constant_(constant), tables_(std::move(tables)) {
    for (const std::vector<int64_t>& table : tables_) {
      monotone_ = monotone_ && std::is_sorted(table.begin() + 1, table.end());
    }
  }

  int64_t Evaluate(absl::Span<const int64_t> kept) const override {
    int64_t sum = constant_;
    for (size_t g = 0; g < tables_.size(); ++g) sum += At(g, kept[g]);
    return sum;
  }
  int64_t EvaluateChange(absl::Span<const int64_t> kept, int64_t now, int32_t group,
                         int64_t count) const override {
    const auto g = static_cast<size_t>(group);
    return now + At(g, count) - At(g, kept[g]);
  }
  bool monotone() const override { return monotone_; }

 private:
  int64_t At(size_t group, int64_t kept) const { return tables_[group][static_cast<size_t>(kept)]; }

  int64_t constant_;
  std::vector<std::vector<int64_t>> tables_;
  bool monotone_ = true;
};

absl::Status CheckSpace(const SparseSpace& space) {
  if (space.granularity == Granularity::kChannel) {
    return absl::InvalidArgumentError("sparsity: channels are no granularity within weights");
  }
  if (space.granularity == Granularity::kNM &&
      !(space.n >= 1 && space.n < space.m && space.m <= 64 && space.m % space.n == 0)) {
    return absl::InvalidArgumentError(absl::StrCat("sparsity: ", space.n, ":", space.m,
                                                   ", want N:M with M at most 64 and a multiple of "
                                                   "N"));
  }
  return CheckSparsityOptions(space.options);
}

// How many units a group counts, and how many of them go together.
int64_t Shares(const SparseSpace& space) {
  return space.granularity == Granularity::kNM ? space.m : kShares;
}
int64_t Step(const SparseSpace& space) {
  return space.granularity == Granularity::kNM ? space.n : 1;
}

SparseDecision DecisionOf(const PruneGroup& group, int64_t kept) {
  return {
      .target = group.name, .granularity = group.granularity, .kept = kept, .of = group.channels};
}

// Rows of a table by kind, ascending in what is kept.
using RowsOfKind = std::map<std::string, std::vector<const LatencyRow*>>;

// Nanoseconds for 0, 1, ... shares of `rows`, at most `most`; below the smallest point that one's.
absl::StatusOr<std::vector<int64_t>> Interpolate(const std::vector<const LatencyRow*>& rows,
                                                 const std::string& kind, int64_t shares,
                                                 double most) {
  if (rows.back()->in != shares) {
    return absl::OutOfRangeError(absl::StrCat("latency table: layer ", kind,
                                              ": the whole layer is ", rows.back()->in,
                                              " there, want ", shares));
  }
  std::vector<int64_t> times(static_cast<size_t>(shares) + 1);
  size_t high = 0;
  for (int64_t kept = 0; kept <= shares; ++kept) {
    while (rows[high]->in < kept) ++high;
    double us = rows[high]->median_us;
    if (high > 0) {
      const LatencyRow& a = *rows[high - 1];
      const double weight =
          static_cast<double>(kept - a.in) / static_cast<double>(rows[high]->in - a.in);
      us = a.median_us + weight * (us - a.median_us);
    }
    times[static_cast<size_t>(kept)] = static_cast<int64_t>(std::ceil(std::min(us * 1000, most)));
  }
  return times;
}

}  // namespace

absl::StatusOr<Grouping> WeightGroups(const Graph& graph, const SparseSpace& space) {
  AMC_RETURN_IF_ERROR(CheckSpace(space));
  AMC_ASSIGN_OR_RETURN(const std::vector<LayerWeights> layers, ListLayerShapes(graph));
  Grouping grouping;
  for (const LayerWeights& layer : layers) {
    PruneGroup group;
    group.name = layer.name;
    group.granularity = space.granularity;
    group.channels = Shares(space);
    group.cells = Step(space);
    group.cell_of_channel.assign(static_cast<size_t>(group.channels), 0);
    group.producers = group.consumers = {layer.node};
    const absl::Status units =
        CountUnits(layer, DecisionOf(group, group.cells), space.options).status();
    if (absl::IsFailedPrecondition(units)) {
      grouping.barriers.push_back({.node = layer.node,
                                   .where = NodeLabel(graph, graph.node(layer.node)),
                                   .reason = std::string(units.message()),
                                   .channels = layer.outputs});
      continue;
    }
    AMC_RETURN_IF_ERROR(units);
    grouping.groups.push_back(std::move(group));
  }
  return grouping;
}

std::vector<SparseDecision> SparseDecisions(const Grouping& grouping,
                                            absl::Span<const int64_t> kept) {
  std::vector<SparseDecision> decisions;
  for (size_t g = 0; g < grouping.groups.size(); ++g) {
    if (kept[g] == grouping.groups[g].channels) continue;
    decisions.push_back(DecisionOf(grouping.groups[g], kept[g]));
  }
  return decisions;
}

absl::StatusOr<std::unique_ptr<CostFunction>> NonZeroCost(const Graph& graph,
                                                          const Grouping& grouping,
                                                          const SparseSpace& space) {
  AMC_ASSIGN_OR_RETURN(const std::vector<LayerWeights> layers, ListLayerShapes(graph));
  int64_t constant = 0;
  std::vector<std::vector<int64_t>> tables(grouping.groups.size());
  for (const LayerWeights& layer : layers) {
    const auto whole = layer.size();
    const int g = grouping.FindGroup(layer.name);
    if (g < 0) {
      constant += whole;
      continue;
    }
    const PruneGroup& group = grouping.groups[static_cast<size_t>(g)];
    std::vector<int64_t>& table = tables[static_cast<size_t>(g)];
    table.assign(static_cast<size_t>(group.channels) + 1, whole);
    for (int64_t kept = 1; kept <= group.channels; ++kept) {
      if (kept == group.channels) continue;
      AMC_ASSIGN_OR_RETURN(const SparseUnits units,
                           CountUnits(layer, DecisionOf(group, kept), space.options));
      table[static_cast<size_t>(kept)] = units.kept_weights();
    }
    table[0] = table[1];
  }
  return std::make_unique<SeparableCost>(constant, std::move(tables));
}

absl::StatusOr<std::unique_ptr<CostFunction>> SimulatedCost(const Graph& graph,
                                                            const Grouping& grouping,
                                                            const SparseSpace& space,
                                                            const LatencyTable& table) {
  AMC_RETURN_IF_ERROR(CheckLatencyTable(table));
  LatencyTable sorted = table;
  SortLatencyTable(sorted);
  RowsOfKind rows;
  for (const LatencyRow& row : sorted.rows) rows[row.layer].push_back(&row);
  AMC_ASSIGN_OR_RETURN(const std::vector<LayerWeights> layers, ListLayerShapes(graph));
  // Whatever a table says, all layers together stay within 64 bits.
  const double most = 0x1p62 / static_cast<double>(std::max<size_t>(layers.size(), 1));
  int64_t constant = 0;
  std::vector<std::vector<int64_t>> tables(grouping.groups.size());
  std::vector<std::string> missing;
  for (const LayerWeights& layer : layers) {
    const int g = grouping.FindGroup(layer.name);
    const PruneGroup* const group = g < 0 ? nullptr : &grouping.groups[static_cast<size_t>(g)];
    const std::string kind = SparseKind(layer, space, group == nullptr);
    const auto found = rows.find(kind);
    if (found == rows.end()) {
      missing.push_back(kind);
      continue;
    }
    const int64_t shares = group == nullptr ? 1 : group->channels;
    AMC_ASSIGN_OR_RETURN(std::vector<int64_t> times,
                         Interpolate(found->second, kind, shares, most));
    if (group == nullptr) {
      constant += times.back();
    } else {
      tables[static_cast<size_t>(g)] = std::move(times);
    }
  }
  if (!missing.empty()) {
    const size_t count = missing.size();
    missing.resize(std::min(count, kShown));
    return absl::NotFoundError(
        absl::StrCat("the latency table lacks ", count, " of ", layers.size(),
                     " layers: ", absl::StrJoin(missing, "; "), count > kShown ? "; ..." : "",
                     " (`amc lut simulate` makes a table of one network and one granularity)"));
  }
  return std::make_unique<SeparableCost>(constant, std::move(tables));
}

std::string SparseKind(const LayerWeights& layer, const SparseSpace& space, bool whole) {
  std::string units(GranularityName(space.granularity));
  const SparsityOptions& options = space.options;
  switch (space.granularity) {
    case Granularity::kVector:
      absl::StrAppend(&units, options.vector_length);
      break;
    case Granularity::kPattern:
      absl::StrAppend(&units, options.patterns);
      break;
    case Granularity::kBlock:
      absl::StrAppend(&units, options.block[0], "x", options.block[1]);
      break;
    case Granularity::kNM:
      units = absl::StrCat(space.n, ":", space.m);
      break;
    default:
      break;
  }
  std::string kind =
      absl::StrCat("sparse ", whole ? "whole" : units, " ", layer.outputs, "x", layer.channels, "x",
                   layer.conv.kernel[0], "x", layer.conv.kernel[1], " ", layer.name);
  for (char& c : kind) {
    if (c == ',' || c == '"' || c == '\'' || static_cast<unsigned char>(c) < ' ') c = '_';
  }
  return kind;
}

}  // namespace amc
