// Values that are known before a network runs, and the operators that exporters compute them with.
//
// A value is a constant, or integers that depend on nothing but the batch size N: every element is
// a + b N, which is enough for what exporters do with Shape (view(x.size(0), -1) and the like).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "env/graph/graph.h"

namespace amc {

struct KnownValue {
  DataType type = DataType::kUndefined;
  Shape shape = {};
  std::shared_ptr<const Buffer> data = {};
  std::vector<int64_t> batches = {};  // b of every element; empty if all are zero

  bool is_constant() const { return batches.empty(); }
};

// The integers of a constant or symbolic int64, int32 or bool value (its a's).
std::vector<int64_t> Integers(const KnownValue& value);

// The constant that tensor `id` holds; nothing if it is none or weightless.
std::optional<KnownValue> ConstantValue(const Graph& graph, TensorId id);

// The shape of a tensor as Shape gives it: the dynamic batch is N.
KnownValue ShapeValue(const Shape& shape);

// The first output of `node` for these inputs (null: unknown or omitted), or nothing if the
// operator is not one of the foldable ones, if it cannot say, or if the result is large and not
// just a view or a permutation of what is there already. Inputs come from files: operands that do
// not fit give nothing. Operators that the graph knows must have their output shapes.
std::optional<KnownValue> Evaluate(const Graph& graph, const Node& node,
                                   absl::Span<const KnownValue* const> inputs);

}  // namespace amc
