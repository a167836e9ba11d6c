#include "env/measure/build_table.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"
#include "env/measure/layer_network.h"

namespace amc {
namespace {

using Axis = std::set<int64_t>;

// What the layers of one kind ask of one axis of its grid.
struct Wanted {
  int64_t least = 0, most = 0;
  Axis originals;
  void Add(int64_t fewest, int64_t original) {
    least = originals.empty() ? fewest : std::min(least, fewest);
    most = std::max(most, original);
    originals.insert(original);
  }
};

struct Kind {
  LatencyLayer layer;  // the first
  int64_t groups = 1;
  Wanted in, out;
};

Axis GrowAxis(const Wanted& wanted, int64_t groups, const Axis& so_far, size_t max_points,
              int64_t multiple) {
  const int64_t least = std::max<int64_t>(wanted.least / groups, 1);
  const std::vector<int64_t> grid = ChannelGrid(wanted.most / groups, least, max_points, multiple);
  const bool covered =
      !so_far.empty() && *so_far.begin() <= grid.front() * groups &&
      std::includes(so_far.begin(), so_far.end(), wanted.originals.begin(), wanted.originals.end());
  if (covered) return so_far;
  Axis axis = so_far;
  axis.insert(wanted.originals.begin(), wanted.originals.end());
  for (const int64_t each : grid) axis.insert(each * groups);
  return axis;
}

absl::StatusOr<std::map<std::string, Kind>> ListKinds(const Graph& graph,
                                                      const Grouping& grouping) {
  AMC_ASSIGN_OR_RETURN(const LatencyLayers layers, ListLatencyLayers(graph, grouping));
  std::vector<int64_t> fewest, all;
  for (const PruneGroup& group : grouping.groups) {
    fewest.push_back(group.cells);
    all.push_back(group.channels);
  }
  std::map<std::string, Kind> kinds;
  for (const LatencyLayer& layer : layers.layers) {
    const auto [found, is_new] = kinds.try_emplace(layer.kind);
    Kind& kind = found->second;
    if (is_new) {
      kind.layer = layer;
      if (graph.node(layer.node).op == Op::kConv && !layer.depthwise) {
        AMC_ASSIGN_OR_RETURN(const ConvParams conv, GetConvParams(graph, graph.node(layer.node)));
        kind.groups = conv.groups;
      }
    }
    kind.in.Add(layers.extents.Length(layer.in, fewest), layers.extents.Length(layer.in, all));
    kind.out.Add(layers.extents.Length(layer.out, fewest), layers.extents.Length(layer.out, all));
  }
  return kinds;
}

// Networks that are loaded together and timed against one another.
class PointSet {
 public:
  PointSet(Runtime& runtime, const Graph& graph) : runtime_(runtime), graph_(graph) {}

  absl::Status Add(const TablePoint& point) {
    AMC_ASSIGN_OR_RETURN(const int32_t baseline, Baseline(point));
    AMC_ASSIGN_OR_RETURN(const Graph network,
                         MakeLayerNetwork(graph_, point.layer, point.in, point.out));
    AMC_RETURN_IF_ERROR(Load(network, baseline));
    points_.push_back(items_.size() - 1);
    return absl::OkStatus();
  }

  absl::Span<const SampledItem> items() const { return items_; }
  const std::vector<size_t>& points() const { return points_; }  // their items
  int64_t weight_bytes() const { return weight_bytes_; }

 private:
  absl::StatusOr<int32_t> Baseline(const TablePoint& point) {
    const std::string key = BaselineKey(graph_, point.layer, point.in);
    const auto found = baselines_.find(key);
    if (found != baselines_.end()) return found->second;
    AMC_ASSIGN_OR_RETURN(const Graph network, MakeBaselineNetwork(graph_, point.layer, point.in));
    AMC_RETURN_IF_ERROR(Load(network, -1));
    return baselines_[key] = static_cast<int32_t>(items_.size()) - 1;
  }

  absl::Status Load(const Graph& network, int32_t baseline) {
    absl::StatusOr<std::unique_ptr<LoadedNetwork>> loaded = runtime_.Load(network);
    if (!loaded.ok()) return Annotate(loaded.status(), network.name);
    loaded_.push_back(*std::move(loaded));
    weight_bytes_ += WeightBytes(network);
    items_.push_back(
        {[network = loaded_.back().get()](int64_t runs) { return network->Time(runs); }, baseline});
    return absl::OkStatus();
  }

  Runtime& runtime_;
  const Graph& graph_;
  std::vector<std::unique_ptr<LoadedNetwork>> loaded_;
  std::vector<SampledItem> items_;  // parallel to loaded_
  std::vector<size_t> points_;
  std::map<std::string, int32_t> baselines_;  // their items
  int64_t weight_bytes_ = 0;
};

}  // namespace

int64_t WeightBytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.data != nullptr) bytes += static_cast<int64_t>(tensor.data->size());
  }
  return bytes;
}

absl::StatusOr<Sampler> MakeSampler(Runtime& runtime, const Graph& graph,
                                    const SamplerOptions& options) {
  std::optional<Graph>& reference = runtime.reference().graph;
  absl::StatusOr<std::unique_ptr<LoadedNetwork>> loaded =
      runtime.Load(reference.has_value() ? *reference : graph);
  if (!reference.has_value()) {
    if (loaded.ok()) {
      reference = graph;
    } else {
      AMC_ASSIGN_OR_RETURN(reference, MakeReferenceNetwork());
      loaded = runtime.Load(*reference);
    }
  }
  AMC_RETURN_IF_ERROR(loaded.status());
  // std::function copies what it holds.
  const std::shared_ptr<LoadedNetwork> shared = *std::move(loaded);
  return Sampler([shared](int64_t runs) { return shared->Time(runs); }, options);
}

double ReferenceUs(Runtime& runtime, const Sampler& sampler) {
  double& us = runtime.reference().us;
  if (us == 0) us = sampler.reference_us();
  return us;
}

absl::StatusOr<std::vector<TablePoint>> PlanTable(const Graph& graph, const Grouping& grouping,
                                                  const LatencyTable& so_far,
                                                  size_t max_grid_points,
                                                  int64_t channel_multiple) {
  if (max_grid_points < 2 || channel_multiple < 1) {
    return absl::InvalidArgumentError(absl::StrCat("a grid of ", max_grid_points,
                                                   " points at multiples of ", channel_multiple,
                                                   " channels, want at least 2 and 1"));
  }
  AMC_ASSIGN_OR_RETURN(const auto kinds, ListKinds(graph, grouping));
  std::map<std::string, std::set<std::pair<int64_t, int64_t>>> measured;
  for (const LatencyRow& row : so_far.rows) measured[row.layer].insert({row.in, row.out});
  std::vector<TablePoint> missing;
  for (const auto& [name, kind] : kinds) {
    Axis old_in, old_out;
    const auto& have = measured[name];
    for (const auto& [in, out] : have) {
      old_in.insert(in);
      old_out.insert(out);
    }
    const Axis in = GrowAxis(kind.in, kind.groups, old_in, max_grid_points, channel_multiple);
    const Axis out = GrowAxis(kind.out, kind.groups, old_out, max_grid_points, channel_multiple);
    for (const int64_t i : in) {
      for (const int64_t o : out) {
        if (kind.layer.depthwise && i != o) continue;
        if (!have.contains({i, o})) missing.push_back({kind.layer, i, o});
      }
    }
  }
  return missing;
}

std::vector<absl::Span<const TablePoint>> SplitPlan(absl::Span<const TablePoint> points,
                                                    size_t most) {
  std::vector<absl::Span<const TablePoint>> parts;
  size_t begin = 0;
  for (size_t i = 1; i <= points.size(); ++i) {
    const bool same_kind = i < points.size() && points[i].layer.kind == points[begin].layer.kind;
    const bool same_input = same_kind && points[i].in == points[i - 1].in;
    if (same_kind && (i - begin < most || same_input)) continue;
    parts.push_back(points.subspan(begin, i - begin));
    begin = i;
  }
  return parts;
}

absl::StatusOr<MeasuredRows> MeasurePoints(
    Runtime& runtime, const Graph& graph, absl::Span<const TablePoint> points,
    const MeasureOptions& options, const std::function<void(size_t done, size_t total)>& progress) {
  AMC_ASSIGN_OR_RETURN(Sampler sampler, MakeSampler(runtime, graph, options.sampler));
  MeasuredRows measured;
  for (size_t done = 0; done < points.size();) {
    PointSet set(runtime, graph);
    const size_t begin = done;
    do {
      AMC_RETURN_IF_ERROR(set.Add(points[done++]));
    } while (done < points.size() &&
             static_cast<int64_t>(set.items().size()) + 1 < options.max_networks &&
             set.weight_bytes() < options.max_weight_bytes);
    const auto report = [&](size_t stable, size_t items) {
      if (progress != nullptr) {
        progress(begin + (done - begin) * stable / items, points.size());
      }
    };
    AMC_ASSIGN_OR_RETURN(const std::vector<Sampled> sampled, sampler.Measure(set.items(), report));
    for (size_t i = begin; i < done; ++i) {
      const size_t item = set.points()[i - begin];
      const Sampled& layer = sampled[item];
      const Sampled& baseline = sampled[static_cast<size_t>(set.items()[item].baseline)];
      measured.rows.push_back({points[i].layer.kind, points[i].in, points[i].out,
                               layer.median - baseline.median, layer.spread});
      measured.unstable += layer.stable ? 0 : 1;
    }
  }
  const double reference_us = ReferenceUs(runtime, sampler);
  for (LatencyRow& row : measured.rows) {
    row.median_us = std::max(row.median_us * reference_us, kLeastMicroseconds);
    row.spread_us *= reference_us;
  }
  if (progress != nullptr) progress(points.size(), points.size());
  return measured;
}

}  // namespace amc
