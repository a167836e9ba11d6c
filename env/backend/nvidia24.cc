#include "env/backend/nvidia24.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/half.h"
#include "env/backend/nvidia24_metadata.h"
#include "env/backend/nvidia24_roofline.h"
#include "env/backend/packed_file.h"
#include "env/backend/windows.h"

namespace amc {
namespace {

uint32_t MaskOf(const DenseMatrix& matrix, int64_t row, int64_t column) {
  uint32_t mask = 0;
  for (int i = 0; i < 4; ++i) mask |= uint32_t{matrix.at(row, column + i) != 0} << i;
  return mask;
}

// FailedPrecondition unless at most 2 of every 4 columns of every row are not zero.
absl::Status CheckGroups(const DenseMatrix& matrix, const LayerWeights& layer) {
  int64_t first = -1, violations = 0;
  for (int64_t i = 0; i < matrix.rows * matrix.columns; i += 4) {
    if (NibbleOf(MaskOf(matrix, i / matrix.columns, i % matrix.columns))) continue;
    if (violations++ == 0) first = i;
  }
  if (violations == 0) return absl::OkStatus();
  const int64_t column = first % matrix.columns;
  const int64_t position = column / layer.channels, channel = column % layer.channels;
  const int64_t width = layer.conv.kernel[1];
  return absl::FailedPreconditionError(
      absl::StrCat("layer ", layer.name, ": output ", first / matrix.columns, ", kernel position (",
                   position / width, ", ", position % width, "), inputs ", channel, " to ",
                   channel + 3, ": over 2 weights of 4 are not zero, as in ", violations, " of ",
                   matrix.rows * matrix.columns / 4, " groups"));
}

TwoOfFour Compress(const DenseMatrix& matrix) {
  TwoOfFour result{matrix.rows, matrix.columns};
  result.values.reserve(matrix.values.size() / 2);
  result.nibbles.reserve(matrix.values.size() / 4);
  for (int64_t i = 0; i < matrix.rows * matrix.columns; i += 4) {
    const int64_t row = i / matrix.columns, column = i % matrix.columns;
    result.nibbles.push_back(*NibbleOf(MaskOf(matrix, row, column)));
    const auto kept = *KeptBy(result.nibbles.back());
    for (const int64_t position : kept) {
      result.values.push_back(matrix.at(row, column + position));
    }
  }
  return result;
}

class Nvidia24 : public Backend {
 public:
  explicit Nvidia24(Nvidia24Type type) : type_(type) {}

  absl::string_view name() const override { return "nvidia24"; }
  absl::string_view extension() const override { return "safetensors"; }
  ColumnOrder column_order() const override { return ColumnOrder::kChannelsLast; }

  absl::Status CheckEligible(const LayerWeights& layer) const override {
    return Matrix(layer).status();
  }

  absl::StatusOr<std::string> Write(const LayerWeights& layer) const override {
    AMC_ASSIGN_OR_RETURN(const DenseMatrix dense, Matrix(layer));
    return WriteNvidia24File(Compress(dense), type_);
  }

  absl::StatusOr<DenseMatrix> Read(absl::string_view file) const override {
    AMC_ASSIGN_OR_RETURN(const TwoOfFour matrix, ReadNvidia24File(file));
    DenseMatrix dense{matrix.rows, matrix.columns};
    dense.values.resize(static_cast<size_t>(dense.rows * dense.columns));
    ForEachKept(matrix,
                [&](int64_t row, int64_t column, float value) { dense.at(row, column) = value; });
    return dense;
  }

  absl::StatusOr<double> Tolerance(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    float largest = 0;
    for (const float value : layer.values) largest = std::max(largest, std::fabs(value));
    switch (type_) {
      case Nvidia24Type::kFp16:
        return Fp16RoundingError(largest);
      case Nvidia24Type::kBf16:
        return Bf16RoundingError(largest);
      case Nvidia24Type::kInt8: {
        // Half a scale, and what scale * value is rounded to float by.
        const float scale =
            std::max(largest / kMostNvidia24Int8, std::numeric_limits<float>::min());
        return double{scale} * (0.5 + kMostNvidia24Int8 * std::numeric_limits<float>::epsilon());
      }
    }
    return absl::InternalError("a type without a tolerance");
  }

  absl::StatusOr<std::vector<float>> Run(absl::string_view file, absl::Span<const float> inputs,
                                         int64_t vectors) const override {
    AMC_ASSIGN_OR_RETURN(const TwoOfFour matrix, ReadNvidia24File(file));
    AMC_RETURN_IF_ERROR(CheckPackedInputs(inputs.size(), matrix.columns, vectors));
    std::vector<float> out(static_cast<size_t>(matrix.rows * vectors));
    ForEachKept(matrix, [&](int64_t row, int64_t column, float value) {
      const float* const from = inputs.data() + column * vectors;
      float* const to = out.data() + row * vectors;
      for (int64_t v = 0; v < vectors; ++v) to[v] += value * from[v];
    });
    return out;
  }

  absl::StatusOr<BackendCost> Cost(const LayerWeights& layer,
                                   const LayerInput& input) const override {
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, Matrix(layer));
    AMC_RETURN_IF_ERROR(CheckInput(layer, input));
    return Timed(layer, layer.size() / 2, Nvidia24Bytes(matrix.rows, matrix.columns, type_),
                 TensorCores::kTwoOfFour);
  }

  absl::StatusOr<BackendCost> DenseCost(const LayerWeights& layer,
                                        const LayerInput& input) const override {
    AMC_RETURN_IF_ERROR(CheckInput(layer, input));
    const int64_t scales = type_ == Nvidia24Type::kInt8 ? 4 * layer.outputs : 0;
    return Timed(layer, layer.size(), layer.size() * Nvidia24ValueBytes(type_) + scales,
                 TensorCores::kDense);
  }

 private:
  BackendCost Timed(const LayerWeights& layer, int64_t weights, int64_t bytes,
                    TensorCores cores) const {
    const RooflineTime time = A100Time(layer, bytes, type_, cores);
    return {.nonzeros = weights,
            .bytes = bytes,
            .cycles = time.cycles,
            .microseconds = time.microseconds};
  }

  // FailedPrecondition as CheckEligible.
  absl::StatusOr<DenseMatrix> Matrix(const LayerWeights& layer) const {
    const auto refuse = [&](absl::string_view reason) {
      return absl::FailedPreconditionError(absl::StrCat("layer ", layer.name, ": ", reason));
    };
    if (layer.conv.groups > 1) {
      return refuse(absl::StrCat(layer.conv.groups, " convolution groups, want 1"));
    }
    if (layer.channels % 4 != 0) {
      return refuse(absl::StrCat(layer.channels, " input channels are no multiple of 4"));
    }
    if (const auto size = CheckPackedSize(layer.outputs, layer.features()); !size.ok()) {
      return refuse(size.message());
    }
    const auto bad = std::find_if(layer.values.begin(), layer.values.end(),
                                  [&](float value) { return !FitsNvidia24(type_, value); });
    if (bad != layer.values.end()) {
      return refuse(absl::StrCat("weight ", bad - layer.values.begin(), " is ", *bad, ", which ",
                                 Nvidia24TypeName(type_), " cannot hold"));
    }
    AMC_ASSIGN_OR_RETURN(DenseMatrix matrix, ToMatrix(layer, column_order()));
    AMC_RETURN_IF_ERROR(CheckGroups(matrix, layer));
    return matrix;
  }

  const Nvidia24Type type_;
};

}  // namespace

const Backend& Nvidia24Backend() {
  static const Nvidia24 backend(Nvidia24Type::kFp16);
  return backend;
}

std::unique_ptr<const Backend> MakeNvidia24Backend(Nvidia24Type type) {
  return std::make_unique<Nvidia24>(type);
}

}  // namespace amc
