// Predicted time of a network's pruned versions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/cost_model.h"
#include "env/cost/latency_layers.h"
#include "env/cost/latency_table.h"

namespace amc {

// Immutable, thread-safe. Between grid points a layer's time is interpolated, bilinearly in its
// channels; on them it is the table's, and below the smallest that one's. A prediction allocates
// nothing for networks of up to a few hundred layers, and looking a layer up takes well below 1 us.
class LatencyModel {
 public:
  // `model` is the sha256 of the ONNX file, for its own fit (empty: the general one, or none).
  // NotFound names the layers whose kind the table lacks (the first 5, and how many more);
  // OutOfRange those that have more channels than its grid, originally. InvalidArgument as
  // CheckLatencyTable and ListLatencyLayers.
  static absl::StatusOr<LatencyModel> Create(const Graph& graph, const Grouping& grouping,
                                             const LatencyTable& table, const std::string& model);

  // Nanoseconds per batch, rounded up; at least 1, at most 2^62. `kept` has one count per group.
  int64_t Evaluate(absl::Span<const int64_t> kept) const;

  // CostFunction::EvaluateChange: looks up the layers that `group` touches alone.
  int64_t EvaluateChange(absl::Span<const int64_t> kept, int64_t now, int32_t group,
                         int64_t count) const;

  struct LayerTime {
    NodeId node = NodeId::kNone;
    int64_t in = 0, out = 0;
    double us = 0;  // of the table, before the fit
  };
  std::vector<LayerTime> Layers(absl::Span<const int64_t> kept) const;
  double SumOfLayersUs(absl::Span<const int64_t> kept) const;
  int64_t OtherBytes(absl::Span<const int64_t> kept) const;
  int64_t ChannelsMade(absl::Span<const int64_t> kept) const;  // by all layers together

  const LatencyFit& fit() const { return fit_; }
  // Evaluate() as a cost that is not monotone; valid as long as this model.
  std::unique_ptr<CostFunction> Function() const;

 private:
  using Lengths = absl::InlinedVector<int64_t, 256>;  // by Extents::Id

  // Where a count lies among grid points: `weight` of the way from point `low` to point `high`.
  struct Position {
    int32_t low = 0, high = 0;
    double weight = 0;
  };
  // One dimension of a grid.
  class Axis {
   public:
    Axis() = default;
    // `points` ascending, not empty; prepares for counts of up to `most`.
    Axis(std::vector<int64_t> points, int64_t most);
    Position Find(int64_t count) const {
      const auto c = static_cast<size_t>(count);
      return c < positions_.size() ? positions_[c] : Search(count);
    }
    size_t size() const { return points_.size(); }

   private:
    Position Search(int64_t count) const;

    std::vector<int64_t> points_;
    std::vector<Position> positions_;  // by count, where counts are few
  };
  struct Grid {
    Axis in, out;            // of depthwise kinds, `out` is a single point
    std::vector<double> us;  // in-major
    double At(int64_t in_channels, int64_t out_channels) const;
  };

  Lengths LengthsOf(absl::Span<const int64_t> kept) const;
  double SumOfLayers(const Lengths& lengths) const;
  int64_t BytesOf(const Lengths& lengths) const;
  int64_t ChannelsOf(const Lengths& lengths) const;

  // What depends on a group: layers, and per channel how many bytes other operators move and how
  // many channels the layers make.
  struct Touched {
    std::vector<size_t> layers;
    int64_t bytes = 0, channels = 0;
  };

  LatencyLayers layers_;
  std::vector<Touched> touched_;  // by group
  std::vector<Grid> grids_;       // distinct kinds
  std::vector<size_t> grid_of_;   // by layer
  LatencyFit fit_;
};

}  // namespace amc
