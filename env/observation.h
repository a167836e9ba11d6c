// What the agent sees of a group: the paper's 11 features (section 3.1), each in [0, 1].
//
//   t        step / steps
//   n c h w stride k FLOPs[t]   of the group's first mixing consumer: output channels, input
//            channels, height and width of its input, stride, kernel (the larger of two), MACs. A
//            linear layer has h = w = stride = k = 1. A group that no mixing layer reads is
//            described by its first producer.
//   reduced  what the earlier decisions removed, as a fraction of the whole network's cost
//   rest     what the later ones can still remove, likewise
//   a[t-1]   the previous decision's executed ratio; 1 before the first
//
// The layer's features are the original's, divided by their maxima over the groups asked about, so
// the scale is fixed when the environment is made. The reference code has 10 features, takes `rest`
// from parameters whatever the budget is on, and describes layers by the raw input file; `reduced`
// and `rest` here are in the resource that the budget is on, by the one exact cost function.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/cost_model.h"
#include "env/env.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

// Immutable, thread-safe.
class Observer {
 public:
  Observer() = default;  // of no steps
  // `order` lists the groups asked about, in order. InvalidArgument if a layer cannot be read.
  static absl::StatusOr<Observer> Create(const Graph& graph, const Grouping& grouping,
                                         const CostModel& cost_model,
                                         absl::Span<const int32_t> order);

  Observation Observe(size_t step, double reduced, double rest, double last_action) const;

 private:
  static constexpr size_t kLayerFeatures = Observation::kFlops - Observation::kN + 1;
  struct Step {
    int32_t group = 0;
    std::array<float, kLayerFeatures> layer{};  // kN ... kFlops, scaled
  };
  std::vector<Step> steps_;
};

}  // namespace amc
