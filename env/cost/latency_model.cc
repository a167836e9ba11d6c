#include "env/cost/latency_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// Positions of counts above this are searched for: a table of them would not pay.
constexpr int64_t kMaxPrepared = 4096;

class LatencyFunction final : public CostFunction {
 public:
  explicit LatencyFunction(const LatencyModel& model) : model_(model) {}
  int64_t Evaluate(absl::Span<const int64_t> kept) const override { return model_.Evaluate(kept); }
  int64_t EvaluateChange(absl::Span<const int64_t> kept, int64_t now, int32_t group,
                         int64_t count) const override {
    return model_.EvaluateChange(kept, now, group, count);
  }
  bool monotone() const override { return false; }  // 33 channels may take longer than 40

 private:
  const LatencyModel& model_;
};

// The first few of `names`, and how many more.
std::string Some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  const size_t shown = std::min(names.size(), kShown);
  std::string text = absl::StrJoin(names.begin(), names.begin() + shown, "; ");
  if (names.size() > shown) absl::StrAppend(&text, "; and ", names.size() - shown, " more");
  return text;
}

// The points and times of one kind.
struct Points {
  std::vector<int64_t> in, out;         // ascending, distinct
  std::vector<const LatencyRow*> rows;  // in-major
};

Points PointsOf(std::vector<const LatencyRow*> rows) {
  std::sort(rows.begin(), rows.end(), [](const LatencyRow* a, const LatencyRow* b) {
    return std::pair(a->in, a->out) < std::pair(b->in, b->out);
  });
  Points points;
  const bool is_depthwise = IsDepthwiseKind(rows[0]->layer);
  for (const LatencyRow* row : rows) {
    if (points.in.empty() || points.in.back() != row->in) points.in.push_back(row->in);
    if (is_depthwise ? points.out.empty() : row->in == rows[0]->in) points.out.push_back(row->out);
  }
  points.rows = std::move(rows);
  return points;
}

}  // namespace

LatencyModel::Axis::Axis(std::vector<int64_t> points, int64_t most) : points_(std::move(points)) {
  const int64_t prepared = std::min(most, kMaxPrepared);
  positions_.reserve(static_cast<size_t>(prepared + 1));
  for (int64_t count = 0; count <= prepared; ++count) positions_.push_back(Search(count));
}

LatencyModel::Position LatencyModel::Axis::Search(int64_t count) const {
  const auto above = std::upper_bound(points_.begin(), points_.end(), count);
  const auto high = static_cast<int32_t>(above - points_.begin());
  if (above == points_.begin()) return {0, 0, 0};
  if (above == points_.end() || *(above - 1) == count) return {high - 1, high - 1, 0};
  const int64_t low_point = *(above - 1);
  return {high - 1, high,
          static_cast<double>(count - low_point) / static_cast<double>(*above - low_point)};
}

double LatencyModel::Grid::At(int64_t in_channels, int64_t out_channels) const {
  const Position i = in.Find(in_channels);
  const Position o = out.Find(out_channels);
  const double* const low = us.data() + static_cast<size_t>(i.low) * out.size();
  const double* const high = us.data() + static_cast<size_t>(i.high) * out.size();
  const double at_low = low[o.low] + o.weight * (low[o.high] - low[o.low]);
  const double at_high = high[o.low] + o.weight * (high[o.high] - high[o.low]);
  return at_low + i.weight * (at_high - at_low);
}

absl::StatusOr<LatencyModel> LatencyModel::Create(const Graph& graph, const Grouping& grouping,
                                                  const LatencyTable& table,
                                                  const std::string& model) {
  AMC_RETURN_IF_ERROR(Annotate(CheckLatencyTable(table), "latency table"));
  LatencyModel result;
  AMC_ASSIGN_OR_RETURN(result.layers_, ListLatencyLayers(graph, grouping));
  const Extents& extents = result.layers_.extents;
  const std::vector<LatencyLayer>& layers = result.layers_.layers;

  struct Kind {
    int64_t in = 0, out = 0;  // the most channels that the network has of it, originally
    std::vector<const LatencyRow*> rows;
    int64_t most_in = 0, most_out = 0;  // that the table has
    size_t grid = 0;
  };
  absl::flat_hash_map<absl::string_view, Kind> kinds;
  for (const LatencyLayer& layer : layers) {
    Kind& kind = kinds[layer.kind];
    kind.in = std::max(kind.in, extents.Length(layer.in, extents.channels()));
    kind.out = std::max(kind.out, extents.Length(layer.out, extents.channels()));
  }
  for (const LatencyRow& row : table.rows) {
    const auto found = kinds.find(row.layer);
    if (found == kinds.end()) continue;
    Kind& kind = found->second;
    kind.rows.push_back(&row);
    kind.most_in = std::max(kind.most_in, row.in);
    kind.most_out = std::max(kind.most_out, row.out);
  }

  std::vector<std::string> missing, beyond;
  for (const LatencyLayer& layer : layers) {
    const Kind& kind = kinds[layer.kind];
    const std::string label = NodeLabel(graph, graph.node(layer.node));
    if (kind.rows.empty()) {
      missing.push_back(absl::StrCat(label, " (", layer.kind, ")"));
      continue;
    }
    const int64_t in = extents.Length(layer.in, extents.channels());
    const int64_t out = extents.Length(layer.out, extents.channels());
    if (in > kind.most_in || out > kind.most_out) {
      beyond.push_back(absl::StrCat(label, " has in ", in, ", out ", out, " of at most ",
                                    kind.most_in, ", ", kind.most_out, " (", layer.kind, ")"));
    }
  }
  const std::string of_table = absl::StrCat("the latency table of ", ToString(table.setting));
  if (!missing.empty()) {
    return absl::NotFoundError(absl::StrCat(of_table, " lacks the kinds of ", missing.size(),
                                            " of ", layers.size(), " layers: ", Some(missing)));
  }
  if (!beyond.empty()) {
    return absl::OutOfRangeError(absl::StrCat(of_table, " ends below the channels of ",
                                              beyond.size(), " of ", layers.size(),
                                              " layers: ", Some(beyond)));
  }

  for (const LatencyLayer& layer : layers) {
    Kind& kind = kinds[layer.kind];
    if (!kind.rows.empty()) {  // its first layer
      Points points = PointsOf(std::move(kind.rows));
      kind.rows.clear();
      kind.grid = result.grids_.size();
      Grid& grid = result.grids_.emplace_back();
      grid.in = Axis(std::move(points.in), kind.in);
      grid.out = Axis(std::move(points.out), kind.out);
      grid.us.reserve(points.rows.size());
      for (const LatencyRow* row : points.rows) grid.us.push_back(row->median_us);
    }
    result.grid_of_.push_back(kind.grid);
  }

  for (size_t g = 0; g < extents.channels().size(); ++g) {
    const auto group = static_cast<int32_t>(g);
    Touched& touched = result.touched_.emplace_back();
    for (size_t i = 0; i < layers.size(); ++i) {
      if (extents.Weight(layers[i].in, group) + extents.Weight(layers[i].out, group) > 0) {
        touched.layers.push_back(i);
      }
      touched.channels += extents.Weight(layers[i].out, group);
    }
    for (const LatencyLayers::Traffic& traffic : result.layers_.traffic) {
      touched.bytes += traffic.bytes * extents.Weight(traffic.extent, group);
    }
  }

  for (const LatencyFit& fit : table.fits) {
    if (fit.model == model) result.fit_ = fit;
    if (fit.model.empty() && result.fit_.model.empty()) result.fit_ = fit;
  }
  return result;
}

LatencyModel::Lengths LatencyModel::LengthsOf(absl::Span<const int64_t> kept) const {
  const Extents& extents = layers_.extents;
  AMC_CHECK(kept.size() == extents.channels().size())
      << kept.size() << " counts for " << extents.channels().size() << " groups";
  Lengths lengths(extents.size());
  for (size_t e = 0; e < lengths.size(); ++e) {
    lengths[e] = extents.Length(static_cast<Extents::Id>(e), kept);
  }
  return lengths;
}

double LatencyModel::SumOfLayers(const Lengths& lengths) const {
  double sum = 0;
  for (size_t i = 0; i < grid_of_.size(); ++i) {
    const LatencyLayer& layer = layers_.layers[i];
    sum += grids_[grid_of_[i]].At(lengths[layer.in], lengths[layer.out]);
  }
  return sum;
}

int64_t LatencyModel::BytesOf(const Lengths& lengths) const {
  int64_t bytes = 0;
  for (const LatencyLayers::Traffic& traffic : layers_.traffic) {
    bytes += traffic.bytes * lengths[traffic.extent];
  }
  return bytes;
}

int64_t LatencyModel::ChannelsOf(const Lengths& lengths) const {
  int64_t channels = 0;
  for (const LatencyLayer& layer : layers_.layers) channels += lengths[layer.out];
  return channels;
}

int64_t LatencyModel::Evaluate(absl::Span<const int64_t> kept) const {
  const Lengths lengths = LengthsOf(kept);
  const double us = fit_.layers * SumOfLayers(lengths) +
                    fit_.byte_us * static_cast<double>(BytesOf(lengths)) +
                    fit_.channel_us * static_cast<double>(ChannelsOf(lengths)) + fit_.constant_us;
  // Sums of decimal fractions miss whole nanoseconds by a hair.
  const double ns = std::ceil(us * 1e3 * (1 - 1e-12));
  if (!(ns > 1)) return 1;
  constexpr int64_t kMost = int64_t{1} << 62;
  return ns < static_cast<double>(kMost) ? static_cast<int64_t>(ns) : kMost;
}

int64_t LatencyModel::EvaluateChange(absl::Span<const int64_t> kept, int64_t now, int32_t group,
                                     int64_t count) const {
  const Extents& extents = layers_.extents;
  const Touched& touched = touched_[static_cast<size_t>(group)];
  const int64_t more = count - kept[static_cast<size_t>(group)];
  double layers_us = 0;
  for (const size_t i : touched.layers) {
    const LatencyLayer& layer = layers_.layers[i];
    const Grid& grid = grids_[grid_of_[i]];
    const int64_t in = extents.Length(layer.in, kept), out = extents.Length(layer.out, kept);
    layers_us += grid.At(in + more * extents.Weight(layer.in, group),
                         out + more * extents.Weight(layer.out, group)) -
                 grid.At(in, out);
  }
  const double change_us = fit_.layers * layers_us +
                           fit_.byte_us * static_cast<double>(more * touched.bytes) +
                           fit_.channel_us * static_cast<double>(more * touched.channels);
  // `now` was rounded up, so this is not below the prediction.
  const double ns = std::ceil(static_cast<double>(now) + change_us * 1e3 - 1e-6);
  return std::max<int64_t>(1, std::llround(std::min(ns, 0x1p62)));
}

std::vector<LatencyModel::LayerTime> LatencyModel::Layers(absl::Span<const int64_t> kept) const {
  const Lengths lengths = LengthsOf(kept);
  std::vector<LayerTime> times;
  times.reserve(layers_.layers.size());
  for (size_t i = 0; i < layers_.layers.size(); ++i) {
    const LatencyLayer& layer = layers_.layers[i];
    const int64_t in = lengths[layer.in];
    const int64_t out = lengths[layer.out];
    times.push_back({layer.node, in, out, grids_[grid_of_[i]].At(in, out)});
  }
  return times;
}

double LatencyModel::SumOfLayersUs(absl::Span<const int64_t> kept) const {
  return SumOfLayers(LengthsOf(kept));
}

int64_t LatencyModel::OtherBytes(absl::Span<const int64_t> kept) const {
  return BytesOf(LengthsOf(kept));
}

int64_t LatencyModel::ChannelsMade(absl::Span<const int64_t> kept) const {
  return ChannelsOf(LengthsOf(kept));
}

std::unique_ptr<CostFunction> LatencyModel::Function() const {
  return std::make_unique<LatencyFunction>(*this);
}

}  // namespace amc
