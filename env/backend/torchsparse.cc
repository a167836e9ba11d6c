#include "env/backend/torchsparse.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/packed_file.h"
#include "env/backend/safetensors.h"
#include "env/backend/sparse_conv.h"
#include "env/backend/windows.h"

namespace amc {
namespace {

constexpr absl::string_view kName = "torchsparse";

struct KernelParameter {
  int64_t positions = 0, channels = 0, outputs = 0;
  std::vector<float> values = {};  // positions x channels x outputs

  float& at(int64_t position, int64_t channel, int64_t output) {
    return values[static_cast<size_t>((position * channels + channel) * outputs + output)];
  }
};

// Why TorchSparse cannot run the layer; empty if it can.
std::string Objection(const LayerWeights& layer) {
  if (layer.form != LayerForm::kConv) return "a linear layer has no positions to be sparse in";
  const ConvParams& conv = layer.conv;
  if (conv.groups > 1) return absl::StrCat(conv.groups, " convolution groups, want 1");
  for (size_t d = 0; d < 2; ++d) {
    const char* const axis = d == 0 ? "height" : "width";
    if (conv.kernel[d] % 2 == 0) {
      return absl::StrCat("kernel ", axis, " ", conv.kernel[d], " is even");
    }
    if (conv.stride[d] != 1) return absl::StrCat("stride ", conv.stride[d], ", want 1");
    if (conv.dilation[d] != 1) return absl::StrCat("dilation ", conv.dilation[d], ", want 1");
    if (conv.pad_begin[d] != conv.kernel[d] / 2 || conv.pad_end[d] != conv.kernel[d] / 2) {
      return absl::StrCat("padding ", conv.pad_begin[d], " and ", conv.pad_end[d], " of its ", axis,
                          ", want ", conv.kernel[d] / 2, ": outputs are where inputs are");
    }
  }
  return std::string(CheckPackedSize(layer.outputs, layer.features()).message());
}

KernelParameter ToParameter(const LayerWeights& layer) {
  KernelParameter kernel{layer.conv.kernel[0] * layer.conv.kernel[1], layer.channels,
                         layer.outputs};
  kernel.values.resize(layer.values.size());
  size_t i = 0;
  for (int64_t o = 0; o < kernel.outputs; ++o) {
    for (int64_t c = 0; c < kernel.channels; ++c) {
      for (int64_t k = 0; k < kernel.positions; ++k) kernel.at(k, c, o) = layer.values[i++];
    }
  }
  return kernel;
}

absl::StatusOr<KernelParameter> Parse(absl::string_view file) {
  AMC_ASSIGN_OR_RETURN(const Safetensors content, ParseSafetensors(file));
  AMC_ASSIGN_OR_RETURN(const std::string format, FindText(content, "format"));
  if (format != kName) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata format: \"", format, "\", want \"", kName, "\""));
  }
  AMC_ASSIGN_OR_RETURN(const int64_t x, FindInteger(content, "kernel_x", 1, kMaxPackedValues));
  AMC_ASSIGN_OR_RETURN(const int64_t y, FindInteger(content, "kernel_y", 1, kMaxPackedValues));
  if (x % 2 == 0 || y % 2 == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a kernel of ", y, " x ", x, ", want odd extents"));
  }
  AMC_ASSIGN_OR_RETURN(
      const SafetensorsTensor tensor,
      FindTensor(content, "kernel", SafetensorsType::kF32, {x * y, kAnySize, kAnySize}));
  KernelParameter kernel{tensor.shape[0], tensor.shape[1], tensor.shape[2],
                         CopyElements<float>(tensor)};
  // The largest are refused before they are multiplied.
  AMC_RETURN_IF_ERROR(CheckPackedSize(kernel.positions, kernel.channels));
  AMC_RETURN_IF_ERROR(CheckPackedSize(kernel.outputs, kernel.positions * kernel.channels));
  return kernel;
}

// The map of a layer whose inputs are gathered already: at offset k, input k * vectors + v goes to
// output v.
KernelMap GatheredMap(int64_t positions, int64_t vectors) {
  KernelMap map{positions * vectors, vectors};
  for (int64_t i = 0; i < positions * vectors; ++i) {
    map.entries.push_back({static_cast<int32_t>(i), static_cast<int32_t>(i % vectors)});
  }
  map.sizes.assign(static_cast<size_t>(positions), static_cast<int32_t>(vectors));
  return map;
}

class TorchSparse : public Backend {
 public:
  absl::string_view name() const override { return kName; }
  absl::string_view extension() const override { return "safetensors"; }
  ColumnOrder column_order() const override { return ColumnOrder::kChannelsLast; }

  absl::Status CheckEligible(const LayerWeights& layer) const override {
    const std::string objection = Objection(layer);
    if (objection.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("layer ", layer.name, ": ", objection));
  }

  absl::StatusOr<std::string> Write(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    const KernelParameter kernel = ToParameter(layer);
    Safetensors content;
    content.metadata["format"] = std::string(kName);
    content.metadata["kernel_x"] = absl::StrCat(layer.conv.kernel[1]);
    content.metadata["kernel_y"] = absl::StrCat(layer.conv.kernel[0]);
    content.tensors["kernel"] = ViewElements(
        SafetensorsType::kF32, {kernel.positions, kernel.channels, kernel.outputs}, kernel.values);
    return SerializeSafetensors(content);
  }

  absl::StatusOr<DenseMatrix> Read(absl::string_view file) const override {
    AMC_ASSIGN_OR_RETURN(KernelParameter kernel, Parse(file));
    DenseMatrix matrix{kernel.outputs, kernel.positions * kernel.channels};
    matrix.values.resize(kernel.values.size());
    for (int64_t k = 0; k < kernel.positions; ++k) {
      for (int64_t c = 0; c < kernel.channels; ++c) {
        for (int64_t o = 0; o < kernel.outputs; ++o) {
          matrix.at(o, k * kernel.channels + c) = kernel.at(k, c, o);
        }
      }
    }
    return matrix;
  }

  absl::StatusOr<double> Tolerance(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    return 0.0;
  }

  absl::StatusOr<std::vector<float>> Run(absl::string_view file, absl::Span<const float> inputs,
                                         int64_t vectors) const override {
    AMC_ASSIGN_OR_RETURN(const KernelParameter kernel, Parse(file));
    AMC_RETURN_IF_ERROR(
        CheckPackedInputs(inputs.size(), kernel.positions * kernel.channels, vectors));
    if (kernel.positions * vectors > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(
          absl::StrCat(vectors, " vectors at ", kernel.positions,
                       " kernel positions are more than 32-bit indices hold"));
    }
    AMC_ASSIGN_OR_RETURN(const SparseConvWeights weights,
                         SparseConvWeights::Create(kernel.positions, kernel.channels,
                                                   kernel.outputs, kernel.values));
    // Points are rows of channels.
    std::vector<float> features(inputs.size());
    for (int64_t k = 0; k < kernel.positions; ++k) {
      for (int64_t c = 0; c < kernel.channels; ++c) {
        for (int64_t v = 0; v < vectors; ++v) {
          features[static_cast<size_t>((k * vectors + v) * kernel.channels + c)] =
              inputs[static_cast<size_t>((k * kernel.channels + c) * vectors + v)];
        }
      }
    }
    const KernelMap map = GatheredMap(kernel.positions, vectors);
    AMC_ASSIGN_OR_RETURN(const std::vector<float> rows,
                         GatherMatmulScatter(weights, map, GroupOffsets(map, {}), features));
    std::vector<float> result(rows.size());
    for (int64_t v = 0; v < vectors; ++v) {
      for (int64_t o = 0; o < kernel.outputs; ++o) {
        result[static_cast<size_t>(o * vectors + v)] =
            rows[static_cast<size_t>(v * kernel.outputs + o)];
      }
    }
    return result;
  }

  absl::StatusOr<BackendCost> Cost(const LayerWeights& layer,
                                   const LayerInput& input) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    AMC_RETURN_IF_ERROR(CheckInput(layer, input));
    const KernelParameter kernel = ToParameter(layer);
    AMC_ASSIGN_OR_RETURN(const SparseConvWeights weights,
                         SparseConvWeights::Create(kernel.positions, kernel.channels,
                                                   kernel.outputs, kernel.values));
    return BackendCost{.nonzeros = weights.values(), .bytes = weights.bytes()};
  }
};

}  // namespace

const Backend& TorchSparseBackend() {
  static const TorchSparse backend;
  return backend;
}

}  // namespace amc
