#include "env/graph/layer_weights.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// `values` of rows x columns, transposed.
std::vector<float> Transposed(absl::Span<const float> values, int64_t rows, int64_t columns) {
  std::vector<float> result(values.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) result[c * rows + r] = values[r * columns + c];
  }
  return result;
}

class WeightLister {
 public:
  WeightLister(const Graph& graph, bool with_values)
      : graph_(graph), with_values_(with_values), readers_(Consumers(graph)) {}

  absl::StatusOr<std::vector<LayerWeights>> List() const {
    std::vector<LayerWeights> layers;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (node.op != Op::kConv && node.op != Op::kGemm && node.op != Op::kMatMul) continue;
      if (node.inputs.size() < 2 || !HasOwnWeight(node)) continue;
      LayerWeights layer;
      layer.node = graph_.node_id(i);
      layer.weight = node.inputs[1];
      layer.name = graph_.tensor(layer.weight).name;
      if (node.op == Op::kConv) {
        AMC_RETURN_IF_ERROR(DescribeConv(node, layer));
      } else {
        AMC_RETURN_IF_ERROR(DescribeLinear(node, layer));
      }
      if (with_values_) AMC_RETURN_IF_ERROR(ReadValues(layer));
      layers.push_back(std::move(layer));
    }
    return layers;
  }

 private:
  absl::Status ReadValues(LayerWeights& layer) const {
    AMC_ASSIGN_OR_RETURN(layer.values, Values<float>(graph_, layer.weight));
    if (layer.transposed) layer.values = Transposed(layer.values, layer.channels, layer.outputs);
    return absl::OkStatus();
  }

  bool HasOwnWeight(const Node& node) const {
    const TensorId id = node.inputs[1];
    if (id == TensorId::kNone) return false;
    const Tensor& weight = graph_.tensor(id);
    return weight.is_constant && (weight.data != nullptr || !with_values_) &&
           weight.type == DataType::kFloat && readers_[Index(id)].size() == 1 &&
           weight.shape.size() == (node.op == Op::kConv ? 4 : 2);
  }

  absl::Status DescribeConv(const Node& node, LayerWeights& layer) const {
    const Shape& in = graph_.tensor(node.inputs[0]).shape;
    const Shape& out = graph_.tensor(node.outputs[0]).shape;
    if (in.size() != 4 || out.size() != 4) {
      return absl::InvalidArgumentError(
          absl::StrCat(NodeLabel(graph_, node), ": shapes of input and output are not known"));
    }
    AMC_ASSIGN_OR_RETURN(layer.conv, GetConvParams(graph_, node));
    layer.form = LayerForm::kConv;
    layer.outputs = layer.conv.out_channels;
    layer.channels = layer.conv.in_channels / layer.conv.groups;
    layer.input_size = {in[2], in[3]};
    layer.output_size = {out[2], out[3]};
    return absl::OkStatus();
  }

  absl::Status DescribeLinear(const Node& node, LayerWeights& layer) const {
    const Shape& weight = graph_.tensor(node.inputs[1]).shape;
    layer.form = node.op == Op::kGemm ? LayerForm::kGemm : LayerForm::kMatMul;
    layer.transposed = true;
    if (node.op == Op::kGemm) {
      AMC_ASSIGN_OR_RETURN(const GemmParams gemm, GetGemmParams(graph_, node));
      layer.transposed = !gemm.trans_b;
    }
    layer.outputs = weight[layer.transposed ? 1 : 0];
    layer.channels = weight[layer.transposed ? 0 : 1];
    layer.conv.in_channels = layer.channels;
    layer.conv.out_channels = layer.outputs;
    const Shape& out = graph_.tensor(node.outputs[0]).shape;
    // Rows per image: all dimensions but the batch and the outputs.
    for (size_t d = 1; d + 1 < out.size(); ++d)
      layer.output_size[0] *= std::max<int64_t>(out[d], 1);
    layer.input_size = layer.output_size;
    return absl::OkStatus();
  }

  const Graph& graph_;
  const bool with_values_;
  std::vector<std::vector<NodeId>> readers_;
};

// Calls `put(index into values, row, column)` for every weight of `layer`.
template <typename Put>
void ForEachPlace(const LayerWeights& layer, ColumnOrder order, Put put) {
  const int64_t kernel = layer.conv.kernel[0] * layer.conv.kernel[1];
  const int64_t per_group = layer.outputs / layer.conv.groups;
  int64_t i = 0;
  for (int64_t o = 0; o < layer.outputs; ++o) {
    const int64_t first = layer.conv.groups == 1 ? 0 : o / per_group * layer.features();
    for (int64_t c = 0; c < layer.channels; ++c) {
      for (int64_t k = 0; k < kernel; ++k, ++i) {
        const int64_t column =
            order == ColumnOrder::kChannelsFirst ? c * kernel + k : k * layer.channels + c;
        put(static_cast<size_t>(i), o, first + column);
      }
    }
  }
}

absl::Status CheckOrder(const LayerWeights& layer, ColumnOrder order) {
  if (order == ColumnOrder::kChannelsLast && layer.conv.groups > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer ", layer.name, ": ", layer.conv.groups,
                     " convolution groups, want 1 for a matrix with channels last"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view LayerFormName(LayerForm form) {
  switch (form) {
    case LayerForm::kConv:
      return "Conv";
    case LayerForm::kGemm:
      return "Gemm";
    case LayerForm::kMatMul:
      return "MatMul";
  }
  return "unknown";
}

int64_t LayerWeights::NonZeros() const {
  return std::count_if(values.begin(), values.end(), [](float value) { return value != 0; });
}

absl::StatusOr<std::vector<LayerWeights>> ListLayerWeights(const Graph& graph) {
  return WeightLister(graph, true).List();
}

absl::StatusOr<std::vector<LayerWeights>> ListLayerShapes(const Graph& graph) {
  return WeightLister(graph, false).List();
}

absl::StatusOr<DenseMatrix> ToMatrix(const LayerWeights& layer, ColumnOrder order) {
  AMC_RETURN_IF_ERROR(CheckOrder(layer, order));
  DenseMatrix matrix{layer.outputs, layer.conv.groups * layer.features()};
  const bool as_stored = order == ColumnOrder::kChannelsFirst || layer.features() == layer.channels;
  if (layer.conv.groups == 1 && as_stored) {
    matrix.values = layer.values;
    return matrix;
  }
  matrix.values.resize(static_cast<size_t>(matrix.rows * matrix.columns));
  ForEachPlace(layer, order, [&](size_t i, int64_t row, int64_t column) {
    matrix.at(row, column) = layer.values[i];
  });
  return matrix;
}

absl::StatusOr<LayerWeights> WithMatrix(LayerWeights layer, const DenseMatrix& matrix,
                                        ColumnOrder order) {
  AMC_RETURN_IF_ERROR(CheckOrder(layer, order));
  const int64_t columns = layer.conv.groups * layer.features();
  if (matrix.rows != layer.outputs || matrix.columns != columns) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer.name, ": a matrix of ",
                                                   matrix.rows, " x ", matrix.columns, ", want ",
                                                   layer.outputs, " x ", columns));
  }
  ForEachPlace(layer, order, [&](size_t i, int64_t row, int64_t column) {
    layer.values[i] = matrix.at(row, column);
  });
  return layer;
}

absl::StatusOr<Graph> WithWeights(Graph graph, const LayerWeights& layer) {
  const bool there = Index(layer.weight) < graph.tensors.size();
  const Tensor* old = there ? &graph.tensor(layer.weight) : nullptr;
  if (old == nullptr || old->name != layer.name || !old->is_constant || old->data == nullptr ||
      old->data->size() != layer.values.size() * sizeof(float)) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer.name,
                                                   ": the network has no such weight of ",
                                                   layer.values.size(), " values"));
  }
  const std::vector<float> stored =
      layer.transposed ? Transposed(layer.values, layer.outputs, layer.channels) : layer.values;
  const Shape shape = old->shape;
  graph.tensor(layer.weight) = MakeFloats(layer.name, shape, stored);
  return graph;
}

}  // namespace amc
