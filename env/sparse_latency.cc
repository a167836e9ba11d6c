#include "env/sparse_latency.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "env/prune/sparse_mask.h"
#include "env/prune/sparse_patterns.h"

namespace amc {
namespace {

constexpr double kNoTime = 1e-3;  // microseconds: tables have no times of 0

// What is kept at `points` densities, ascending, the whole group last: steps by equal ratios, as
// costs bend where little is left, on multiples of the group's cells.
std::vector<int64_t> Grid(const PruneGroup& group, int64_t points) {
  constexpr double kLeast = 0.02;
  if (group.granularity == Granularity::kNM) return {group.cells, group.channels};
  std::set<int64_t> kept = {group.channels};
  for (int64_t i = 0; i + 1 < points; ++i) {
    const double ratio =
        kLeast * std::pow(1 / kLeast, static_cast<double>(i) / static_cast<double>(points - 1));
    const auto cells = static_cast<int64_t>(
        std::ceil(ratio * static_cast<double>(group.channels) / static_cast<double>(group.cells)));
    kept.insert(cells * group.cells);
  }
  return {kept.begin(), kept.end()};
}

absl::StatusOr<double> Microseconds(const Backend& backend, const LayerWeights& layer,
                                    const LayerInput& input) {
  absl::StatusOr<BackendCost> cost = backend.CheckEligible(layer).ok()
                                         ? backend.Cost(layer, input)
                                         : backend.DenseCost(layer, input);
  AMC_RETURN_IF_ERROR(cost.status());
  if (cost->cycles == 0 && cost->microseconds == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("backend ", backend.name(), " has no cycle model to simulate"));
  }
  return std::max(cost->microseconds, kNoTime);
}

}  // namespace

absl::StatusOr<LatencyTable> SimulateTable(
    const Graph& graph, const Backend& backend, const SimulateOptions& options,
    const std::map<NodeId, std::vector<float>>& inputs,
    const std::function<void(int64_t done, int64_t total)>& progress) {
  if (options.points < 2) {
    return absl::InvalidArgumentError(absl::StrCat(options.points, " points, want 2 at least"));
  }
  const SparseSpace& space = options.space;
  AMC_ASSIGN_OR_RETURN(const std::vector<LayerWeights> layers, ListLayerWeights(graph));
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, WeightGroups(graph, space));
  const std::vector<KernelPattern> patterns = FrequentPatterns(layers, space.options.patterns);
  LatencyTable table;
  table.setting = {.device = kSimulatedDevice,
                   .runtime = std::string(backend.name()),
                   .version = "1",
                   .threads = 1,
                   .batch = 1};
  for (size_t i = 0; i < layers.size(); ++i) {
    progress(static_cast<int64_t>(i), static_cast<int64_t>(layers.size()));
    const LayerWeights& layer = layers[i];
    const auto found = inputs.find(layer.node);
    if (found == inputs.end()) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", layer.name, ": has no input"));
    }
    const LayerInput input{found->second};
    const int g = grouping.FindGroup(layer.name);
    if (options.linear_only && layer.form == LayerForm::kConv) {
      const int64_t whole = g < 0 ? 1 : grouping.groups[static_cast<size_t>(g)].channels;
      table.rows.push_back({SparseKind(layer, space, g < 0), whole, whole, kNoTime, 0});
      continue;
    }
    if (g < 0) {
      AMC_ASSIGN_OR_RETURN(const double us, Microseconds(backend, layer, input));
      table.rows.push_back({SparseKind(layer, space, true), 1, 1, us, 0});
      continue;
    }
    const PruneGroup& group = grouping.groups[static_cast<size_t>(g)];
    for (const int64_t kept : Grid(group, options.points)) {
      const SparseDecision decision{.target = layer.name,
                                    .granularity = group.granularity,
                                    .kept = kept,
                                    .of = group.channels};
      LayerWeights pruned = layer;
      if (kept != group.channels) {
        AMC_ASSIGN_OR_RETURN(const SparseMask mask,
                             SelectWeights(layer, decision, space.options, patterns));
        pruned = ApplyMask(std::move(pruned), mask);
      }
      AMC_ASSIGN_OR_RETURN(const double us, Microseconds(backend, pruned, input));
      table.rows.push_back({SparseKind(layer, space, false), kept, group.channels, us, 0});
    }
  }
  progress(static_cast<int64_t>(layers.size()), static_cast<int64_t>(layers.size()));
  SortLatencyTable(table);
  AMC_RETURN_IF_ERROR(CheckLatencyTable(table));
  return table;
}

}  // namespace amc
