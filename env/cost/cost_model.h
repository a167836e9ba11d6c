// What a policy costs, exactly, from kept counts alone.
//
// A convolution of kept output and input channels o, i costs o * i / groups * kh * kw * oh * ow
// multiply-accumulates (MACs, not FLOPs) per image, a linear layer o * i; everything else costs
// none. Parameters are what training changes: weights, biases, batch norm's scale and shift. Both
// are bilinear in the kept counts because an axis is a concatenation of group segments.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

enum class Resource { kMacs = 1, kParams = 2 };
absl::string_view ResourceName(Resource resource);  // "macs", "params"

struct Cost {
  int64_t macs = 0;
  int64_t params = 0;
  int64_t of(Resource r) const { return r == Resource::kMacs ? macs : params; }
  friend bool operator==(const Cost&, const Cost&) = default;
};

// A layer's share, for tables: `node` with the whole network's MACs and parameters.
struct LayerCost {
  NodeId node = NodeId::kNone;
  Cost cost;
};

// A cost that may depend on every group: what budgets clamp against. Immutable, thread-safe.
class CostFunction {
 public:
  virtual ~CostFunction() = default;
  // `kept` has one count per group.
  virtual int64_t Evaluate(absl::Span<const int64_t> kept) const = 0;
  // Whether keeping more of any group never costs less.
  virtual bool monotone() const = 0;
};

// Immutable, thread-safe.
class CostModel {
 public:
  // Works on weightless graphs. InvalidArgument if shapes are missing.
  static absl::StatusOr<CostModel> Create(const Graph& graph, const Grouping& grouping);

  Cost Evaluate(absl::Span<const int64_t> kept) const;
  int64_t Evaluate(Resource resource, absl::Span<const int64_t> kept) const;
  std::vector<LayerCost> Layers(absl::Span<const int64_t> kept) const;
  // One resource as a CostFunction; valid as long as this model.
  std::unique_ptr<CostFunction> Function(Resource resource) const;

  size_t num_groups() const { return channels_.size(); }
  absl::Span<const int64_t> channels() const { return channels_; }  // the original counts

 private:
  // constant + sum over groups of weight * kept: the length of an axis.
  struct Extent {
    int64_t constant = 0;
    std::vector<std::pair<int32_t, int64_t>> weights;  // group, slots per channel
    int64_t of(absl::Span<const int64_t> kept) const;
  };
  // coefficient * rows * columns / divisor, exact.
  struct Term {
    NodeId node = NodeId::kNone;
    Extent rows, columns;
    int64_t macs = 0, params = 0;  // coefficients
    int64_t divisor = 1;           // convolution groups
  };
  std::vector<Term> terms_;
  std::vector<int64_t> channels_;
};

// Counted from the weights' shapes of `graph` itself, without groups: the independent check on an
// exported file.
absl::StatusOr<Cost> CountCost(const Graph& graph);

}  // namespace amc
