// What a policy costs, exactly, from kept counts alone.
//
// A convolution of kept output and input channels o, i costs o * i / groups * kh * kw * oh * ow
// multiply-accumulates (MACs, not FLOPs) per image, a linear layer o * i; everything else costs
// none. Parameters are what training changes: weights, biases, batch norm's scale and shift. Both
// are bilinear in the kept counts because an axis is a concatenation of group segments.
#pragma once

#include <cstdint>
#include <memory>
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
  // Whether keeping more of any group never costs less.
  virtual bool monotone() const = 0;
};

// Immutable, thread-safe. Evaluating allocates nothing for networks of up to a few hundred layers.
class CostModel {
 public:
  // Works on weightless graphs. InvalidArgument if shapes are missing or a cost overflows 2^62.
  static absl::StatusOr<CostModel> Create(const Graph& graph, const Grouping& grouping);

  // `kept` has one count per group, each a multiple of the group's cells.
  Cost Evaluate(absl::Span<const int64_t> kept) const;
  int64_t Evaluate(Resource resource, absl::Span<const int64_t> kept) const;
  std::vector<LayerCost> Layers(absl::Span<const int64_t> kept) const;
  // One resource as a CostFunction; valid as long as this model.
  std::unique_ptr<CostFunction> Function(Resource resource) const;

  size_t num_groups() const { return channels_.size(); }
  absl::Span<const int64_t> channels() const { return channels_; }  // the original counts

 private:
  // constant + sum of weight * kept[group] over the entries [begin, end): the length of an axis.
  struct Extent {
    int64_t constant = 0;
    int32_t begin = 0, end = 0;
  };
  struct Entry {
    int32_t group = 0;
    int64_t weight = 0;  // slots per channel
  };
  // coefficient * rows * (columns / divisor), exact; rows and columns index extents_.
  struct Term {
    int32_t rows = 0, columns = 0;
    int64_t divisor = 1;           // convolution groups
    int64_t macs = 0, params = 0;  // coefficients
  };
  struct LayerTerm {
    NodeId node = NodeId::kNone;
    Term term;
  };
  class Builder;

  // Calls `add(term, elements)` for every term of the network as a whole.
  template <typename Add>
  void ForEachTerm(absl::Span<const int64_t> kept, Add add) const;
  int64_t Length(const Extent& extent, absl::Span<const int64_t> kept) const;

  std::vector<int64_t> channels_;
  std::vector<Extent> extents_;  // distinct axes; extents_[0] is the constant 1
  std::vector<Entry> entries_;
  std::vector<Term> terms_;        // of the whole network, terms with equal axes merged
  std::vector<LayerTerm> layers_;  // node by node
};

// Counted from the weights' shapes of `graph` itself, without groups: the independent check on an
// exported file. InvalidArgument as Create.
absl::StatusOr<Cost> CountCost(const Graph& graph);

// The MACs per image of nodes [first, end) alone, counted likewise.
absl::StatusOr<int64_t> CountMacs(const Graph& graph, size_t first, size_t end);

}  // namespace amc
