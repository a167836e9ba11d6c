#include "env/graph/batch_axis.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

// The size that all inputs have along their first axis, or 0.
int64_t FixedBatch(const Graph& graph) {
  int64_t batch = 0;
  for (const TensorId id : graph.inputs) {
    const Shape& shape = graph.tensor(id).shape;
    if (shape.size() < 2 || shape[0] < 1 || (batch != 0 && shape[0] != batch)) return 0;
    batch = shape[0];
  }
  return batch;
}

bool HasUnknown(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [](const Node& node) { return node.op == Op::kUnknown; });
}

// Reshape to [batch, ...] becomes [0, ...]: the first axis of the input, whatever its size. The
// shapes that follow show whether the first axis of the input was the batch at all.
void FreeReshapeTargets(Graph& graph, int64_t batch) {
  for (Node& node : graph.nodes) {
    if (node.op != Op::kReshape) continue;
    const absl::StatusOr<int64_t> allow_zero = GetInt(graph, node, "allowzero", 0);
    if (!allow_zero.ok() || *allow_zero != 0) continue;  // 0 is a plain zero there
    absl::StatusOr<std::vector<int64_t>> target = Values<int64_t>(graph, node.inputs[1]);
    if (!target.ok() || target->empty() || target->front() != batch) continue;
    const Tensor& input = graph.tensor(node.inputs[0]);
    if (input.is_constant || input.shape.empty() || input.shape[0] != batch) continue;
    target->front() = 0;
    const std::string base = absl::StrCat(graph.tensor(node.inputs[1]).name, "_free");
    std::string name = base;
    for (int n = 2; graph.FindTensor(name) != TensorId::kNone; ++n) {
      name = absl::StrCat(base, "_", n);
    }
    const Shape shape = {static_cast<int64_t>(target->size())};
    node.inputs[1] = graph.AddTensor(MakeInts(name, shape, *target));
  }
}

// Whether each tensor of `free` has the shape that it has in `fixed` when the batch is `batch`.
bool ShapesAgree(const Graph& fixed, const Graph& free, int64_t batch) {
  std::map<std::string, const Tensor*> by_name;
  for (const Tensor& tensor : fixed.tensors) by_name[tensor.name] = &tensor;
  for (const Tensor& tensor : free.tensors) {
    if (tensor.is_constant) continue;
    const auto found = by_name.find(tensor.name);
    if (found == by_name.end() || !tensor.shape_known) return false;
    Shape shape = tensor.shape;
    std::replace(shape.begin(), shape.end(), kDynamic, batch);
    if (shape != found->second->shape) return false;
  }
  return std::all_of(free.outputs.begin(), free.outputs.end(), [&](TensorId id) {
    const Shape& shape = free.tensor(id).shape;
    return !shape.empty() && shape[0] == kDynamic;
  });
}

}  // namespace

absl::StatusOr<Graph> SettleBatchAxis(Graph fixed, const InferUnknown& infer_unknown) {
  AMC_RETURN_IF_ERROR(FoldConstants(fixed, infer_unknown));
  const int64_t batch = FixedBatch(fixed);
  if (batch == 0 || HasUnknown(fixed)) return fixed;
  Graph free = fixed;
  FreeReshapeTargets(free, batch);
  for (const TensorId id : free.inputs) free.tensor(id).shape[0] = kDynamic;
  if (!FoldConstants(free, infer_unknown).ok() || HasUnknown(free)) return fixed;
  if (!ShapesAgree(fixed, free, batch)) return fixed;
  free.fixed_batch = batch;
  free.batch_symbol = std::string("N");
  return free;
}

}  // namespace amc
