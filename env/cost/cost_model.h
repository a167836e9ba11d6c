// What a policy costs, exactly, from kept counts alone.
//
// A convolution of kept output and input channels o, i costs o * i / groups * kh * kw * oh * ow
// multiply-accumulates (MACs, not FLOPs) per image, a linear layer o * i; everything else costs
// none. Parameters are what training changes: weights, biases, batch norm's scale and shift. A
// model's bytes are those of all its constants, as a file or memory holds them; names and structure
// are not counted. All three are bilinear in the kept counts because an axis is a concatenation of
// group segments.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/cost/extents.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

// What a budget may be on.
enum class Resource {
  kMacs = 1,
  kParams = 2,
  kActivationBytes = 3,  // activation_memory.h
  kModelBytes = 4,
  kLatency = 5,   // nanoseconds, predicted (latency_model.h)
  kNonZeros = 6,  // weights of layers, where zeros within them are searched (env/sparse_space.h)
};
absl::string_view ResourceName(Resource resource);  // "macs", "activation_bytes"

struct Cost {
  int64_t macs = 0;
  int64_t params = 0;
  friend bool operator==(const Cost&, const Cost&) = default;
};

// One layer's share: a node whose weights or scales count, in topological order.
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
  // What Evaluate gives once `group` keeps `count`, or one more; `now` is Evaluate(kept), or more.
  // Faster than evaluating anew where an implementation knows which of its terms the group touches.
  virtual int64_t EvaluateChange(absl::Span<const int64_t> kept, int64_t now, int32_t group,
                                 int64_t count) const;
  // Whether keeping more of any group never costs less.
  virtual bool monotone() const = 0;
  // Whether it is a sum of products of at most two kept counts.
  virtual bool bilinear() const { return false; }
};

// Immutable, thread-safe. Evaluating allocates nothing for networks of up to a few hundred layers.
class CostModel {
 public:
  // Works on weightless graphs. InvalidArgument if shapes are missing or a cost overflows 2^62.
  static absl::StatusOr<CostModel> Create(const Graph& graph, const Grouping& grouping);

  // `kept` has one count per group, each a multiple of the group's cells.
  Cost Evaluate(absl::Span<const int64_t> kept) const;
  int64_t ModelBytes(absl::Span<const int64_t> kept) const;
  std::vector<LayerCost> Layers(absl::Span<const int64_t> kept) const;
  // MACs, parameters or model bytes as a CostFunction; valid as long as this model.
  std::unique_ptr<CostFunction> Function(Resource resource) const;

  size_t num_groups() const { return channels().size(); }
  absl::Span<const int64_t> channels() const { return extents_.channels(); }  // the original counts

 private:
  // coefficient * rows * (columns / divisor), exact.
  struct Term {
    Extents::Id rows = Extents::kOne, columns = Extents::kOne;
    int64_t divisor = 1;                      // convolution groups
    int64_t macs = 0, params = 0, bytes = 0;  // coefficients
  };
  struct LayerTerm {
    NodeId node = NodeId::kNone;
    Term term;
  };
  class Builder;

  // Calls `add(term, elements)` for every term of the network as a whole.
  template <typename Add>
  void ForEachTerm(absl::Span<const int64_t> kept, Add add) const;

  Extents extents_;
  std::vector<Term> terms_;        // of the whole network, terms with equal axes merged
  std::vector<LayerTerm> layers_;  // node by node
};

// Counted from the weights' shapes of `graph` itself, without groups: the independent check on an
// exported file. InvalidArgument as Create.
absl::StatusOr<Cost> CountCost(const Graph& graph);

// The bytes of its constants, likewise. InvalidArgument names one whose shape or type has no size.
absl::StatusOr<int64_t> CountModelBytes(const Graph& graph);

// The MACs per image of nodes [first, end) alone, counted likewise.
absl::StatusOr<int64_t> CountMacs(const Graph& graph, size_t first, size_t end);

}  // namespace amc
