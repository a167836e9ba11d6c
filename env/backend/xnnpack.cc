#include "env/backend/xnnpack.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/packed_file.h"
#include "env/backend/safetensors.h"
#include "env/backend/windows.h"
#include "env/backend/xnnpack_product.h"

namespace amc {
namespace {

constexpr absl::string_view kName = "xnnpack";
constexpr int64_t kBytesPerNonzero = 12;
constexpr int64_t kBytesPerOutput = 8;

// Why XNNPACK has no sparse kernel for the layer; empty if it has.
std::string Objection(const LayerWeights& layer) {
  if (layer.form != LayerForm::kConv) {
    return "a linear layer: sparse kernels are for 1x1 convolutions only";
  }
  const ConvParams& conv = layer.conv;
  if (conv.groups > 1) return absl::StrCat(conv.groups, " convolution groups, want 1");
  if (conv.kernel != Pair{1, 1}) {
    return absl::StrCat("a kernel of ", conv.kernel[0], " x ", conv.kernel[1],
                        ": sparse kernels are for 1x1 convolutions only");
  }
  if (conv.stride != Pair{1, 1}) {
    return absl::StrCat("stride ", conv.stride[0], " x ", conv.stride[1], ", want 1");
  }
  if (conv.pad_begin != Pair{0, 0} || conv.pad_end != Pair{0, 0}) {
    return absl::StrCat("padding (", conv.pad_begin[0], ", ", conv.pad_begin[1], ") and (",
                        conv.pad_end[0], ", ", conv.pad_end[1], "), want none");
  }
  return std::string(CheckPackedSize(layer.outputs, layer.channels).message());
}

absl::StatusOr<DenseMatrix> Parse(absl::string_view file) {
  AMC_ASSIGN_OR_RETURN(const Safetensors content, ParseSafetensors(file));
  AMC_ASSIGN_OR_RETURN(const std::string format, FindText(content, "format"));
  if (format != kName) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata format: \"", format, "\", want \"", kName, "\""));
  }
  AMC_ASSIGN_OR_RETURN(const SafetensorsTensor weight,
                       FindTensor(content, "weight", SafetensorsType::kF32, {kAnySize, kAnySize}));
  AMC_RETURN_IF_ERROR(CheckPackedSize(weight.shape[0], weight.shape[1]));
  return DenseMatrix{weight.shape[0], weight.shape[1], CopyElements<float>(weight)};
}

class Xnnpack : public Backend {
 public:
  absl::string_view name() const override { return kName; }
  absl::string_view extension() const override { return "safetensors"; }
  ColumnOrder column_order() const override { return ColumnOrder::kChannelsFirst; }

  absl::Status CheckEligible(const LayerWeights& layer) const override {
    const std::string objection = Objection(layer);
    if (objection.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("layer ", layer.name, ": ", objection));
  }

  absl::StatusOr<std::string> Write(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    Safetensors content;
    content.metadata["format"] = std::string(kName);
    content.tensors["weight"] =
        ViewElements(SafetensorsType::kF32, {layer.outputs, layer.channels}, layer.values);
    return SerializeSafetensors(content);
  }

  absl::StatusOr<DenseMatrix> Read(absl::string_view file) const override { return Parse(file); }

  absl::StatusOr<double> Tolerance(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    return 0.0;
  }

  absl::StatusOr<std::vector<float>> Run(absl::string_view file, absl::Span<const float> inputs,
                                         int64_t vectors) const override {
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, Parse(file));
    AMC_RETURN_IF_ERROR(CheckPackedInputs(inputs.size(), matrix.columns, vectors));
    if (vectors == 0) return std::vector<float>();
    AMC_ASSIGN_OR_RETURN(XnnpackProduct product,
                         XnnpackProduct::Create(matrix, vectors, XnnpackProduct::Kernel::kSparse));
    std::copy(inputs.begin(), inputs.end(), product.inputs().begin());
    AMC_RETURN_IF_ERROR(product.Run());
    return std::vector<float>(product.outputs().begin(), product.outputs().end());
  }

  absl::StatusOr<BackendCost> Cost(const LayerWeights& layer,
                                   const LayerInput& input) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    AMC_RETURN_IF_ERROR(CheckInput(layer, input));
    const int64_t nonzeros = layer.NonZeros();
    return BackendCost{.nonzeros = nonzeros,
                       .bytes = kBytesPerNonzero * nonzeros + kBytesPerOutput * layer.outputs};
  }
};

}  // namespace

const Backend& XnnpackBackend() {
  static const Xnnpack backend;
  return backend;
}

}  // namespace amc
