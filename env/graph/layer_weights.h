// The weights of one layer as sparse runtimes see them: a matrix that multiplies the layer's
// inputs, and where it comes from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/graph/graph.h"
#include "env/graph/op_params.h"

namespace amc {

// Rows are outputs, columns inputs; row-major.
struct DenseMatrix {
  int64_t rows = 0, columns = 0;
  std::vector<float> values = {};

  float& at(int64_t row, int64_t column) {
    return values[static_cast<size_t>(row * columns + column)];
  }
  float at(int64_t row, int64_t column) const {
    return values[static_cast<size_t>(row * columns + column)];
  }
  friend bool operator==(const DenseMatrix&, const DenseMatrix&) = default;
};

// How a convolution's inputs (c, y, x) are laid out along a row. The same for linear layers.
enum class ColumnOrder {
  kChannelsFirst,  // c, ky, kx: as ONNX stores weights
  kChannelsLast,   // ky, kx, c: neighbours are channels at one kernel position
};

enum class LayerForm { kConv = 1, kGemm = 2, kMatMul = 3 };
absl::string_view LayerFormName(LayerForm form);  // "Conv", "Gemm", "MatMul"

// A convolution (grouped and depthwise ones included) or linear layer with constant float32
// weights. Plain data.
struct LayerWeights {
  std::string name = {};        // of the weight's tensor, unique in the network
  NodeId node = NodeId::kNone;  // its only reader
  TensorId weight = TensorId::kNone;
  LayerForm form = LayerForm::kConv;
  // The file stores inputs x outputs: MatMul, and Gemm without transB. `values` do not.
  bool transposed = false;
  int64_t outputs = 0;
  int64_t channels = 0;  // inputs, of one convolution group
  ConvParams conv = {};  // of convolutions; else one 1x1 kernel
  // Per image: what the layer reads and makes, 1 x 1 of linear layers.
  Pair input_size = {1, 1}, output_size = {1, 1};
  std::vector<float> values = {};  // outputs x channels x kernel height x kernel width

  // Of one output.
  int64_t features() const { return channels * conv.kernel[0] * conv.kernel[1]; }
  int64_t size() const { return outputs * features(); }  // how many weights
  int64_t positions() const { return output_size[0] * output_size[1]; }
  bool depthwise() const { return conv.groups > 1 && channels == 1; }
  int64_t NonZeros() const;
};

// Topological order. Weights that are shared, weightless or of another type are left out; linear
// layers that read more than one row per image (MatMul on sequences) have them as output_size[0].
// InvalidArgument if a weight's bytes do not fit its shape; errors of GetConvParams.
absl::StatusOr<std::vector<LayerWeights>> ListLayerWeights(const Graph& graph);

// The same without values, weightless ones among them.
absl::StatusOr<std::vector<LayerWeights>> ListLayerShapes(const Graph& graph);

// outputs x features. Of grouped convolutions outputs x (groups * features), zero where an output
// does not read a group: in channels-first order, groups in turn; channels last takes one group
// alone (InvalidArgument).
absl::StatusOr<DenseMatrix> ToMatrix(const LayerWeights& layer, ColumnOrder order);

// The inverse: `layer` with the values of `matrix`. InvalidArgument if the shapes differ.
absl::StatusOr<LayerWeights> WithMatrix(LayerWeights layer, const DenseMatrix& matrix,
                                        ColumnOrder order);

// `graph` with the layer's values in its weight, laid out as the file had them. InvalidArgument if
// the layer is not of that graph.
absl::StatusOr<Graph> WithWeights(Graph graph, const LayerWeights& layer);

}  // namespace amc
