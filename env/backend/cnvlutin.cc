#include "env/backend/cnvlutin.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/fixed_point.h"
#include "env/backend/packed_file.h"
#include "env/backend/windows.h"
#include "env/backend/zfnaf.h"

namespace amc {
namespace {

constexpr absl::string_view kMagic = "CNV1";
constexpr uint16_t kVersion = 1;
constexpr int64_t kLanes = 16;
constexpr int64_t kFilters = 256;  // at a time
constexpr double kMegahertz = 606;

// How many values of each brick are not zero: positions of a plane x bricks in depth.
std::vector<int64_t> CountBricks(const LayerWeights& layer, const LayerInput& input) {
  const int64_t plane = layer.input_size[0] * layer.input_size[1];
  const int64_t depth = (layer.channels + kBrick - 1) / kBrick;
  std::vector<int64_t> counts(static_cast<size_t>(plane * depth));
  for (int64_t c = 0; c < layer.channels; ++c) {
    for (int64_t i = 0; i < plane; ++i) {
      if (input.values[c * plane + i] != 0) ++counts[i * depth + c / kBrick];
    }
  }
  return counts;
}

// A file's header, and its values, which lie in the file.
struct Filters {
  int fraction_bits = 0;
  int64_t rows = 0, columns = 0;
  absl::string_view values;

  float at(int64_t row, int64_t column) const {
    return FromFixed(static_cast<int16_t>(WordAt(values, row * columns + column)), fraction_bits);
  }
};

absl::StatusOr<Filters> ParseFilters(absl::string_view file) {
  PackedReader reader(file, kMagic, kVersion);
  Filters filters;
  filters.fraction_bits = reader.U8();
  filters.rows = reader.U32();
  filters.columns = reader.U32();
  const int64_t channels = reader.U32();
  AMC_RETURN_IF_ERROR(reader.status());
  AMC_RETURN_IF_ERROR(CheckPackedSize(filters.rows, filters.columns));
  if (filters.fraction_bits > kMaxFractionBits || channels < 1 || filters.columns % channels != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(filters.fraction_bits, " fraction bits, want at most ", kMaxFractionBits, "; ",
                     channels, " channels, want a divisor of the ", filters.columns, " columns"));
  }
  filters.values = reader.Take(2 * static_cast<uint64_t>(filters.rows * filters.columns));
  AMC_RETURN_IF_ERROR(reader.Finish());
  return filters;
}

class Cnvlutin final : public Backend {
 public:
  absl::string_view name() const override { return "cnvlutin"; }
  absl::string_view extension() const override { return "bin"; }
  ColumnOrder column_order() const override { return ColumnOrder::kChannelsLast; }

  absl::Status CheckEligible(const LayerWeights& layer) const override {
    if (layer.conv.groups > 1) {
      return absl::FailedPreconditionError(absl::StrCat(
          layer.conv.groups, " convolution groups: all filters share the bricks of a window"));
    }
    if (const absl::Status size = CheckPackedSize(layer.outputs, layer.features()); !size.ok()) {
      return absl::FailedPreconditionError(size.message());
    }
    return FractionBits(layer.values).status();
  }

  absl::StatusOr<std::string> Write(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, ToMatrix(layer, column_order()));
    AMC_ASSIGN_OR_RETURN(const int fraction_bits, FractionBits(matrix.values));
    PackedWriter writer(kMagic, kVersion);
    writer.U8(static_cast<uint8_t>(fraction_bits));
    writer.U32(static_cast<uint32_t>(matrix.rows));
    writer.U32(static_cast<uint32_t>(matrix.columns));
    writer.U32(static_cast<uint32_t>(layer.channels));
    for (const float value : matrix.values) writer.I16(ToFixed(value, fraction_bits));
    return std::move(writer).bytes();
  }

  absl::StatusOr<DenseMatrix> Read(absl::string_view file) const override {
    AMC_ASSIGN_OR_RETURN(const Filters filters, ParseFilters(file));
    DenseMatrix matrix{filters.rows, filters.columns};
    matrix.values.reserve(static_cast<size_t>(matrix.rows * matrix.columns));
    for (int64_t row = 0; row < matrix.rows; ++row) {
      for (int64_t c = 0; c < matrix.columns; ++c) matrix.values.push_back(filters.at(row, c));
    }
    return matrix;
  }

  absl::StatusOr<double> Tolerance(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    AMC_ASSIGN_OR_RETURN(const int fraction_bits, FractionBits(layer.values));
    return RoundingError(fraction_bits);
  }

  absl::StatusOr<std::vector<float>> Run(absl::string_view file, absl::Span<const float> inputs,
                                         int64_t vectors) const override {
    AMC_ASSIGN_OR_RETURN(const Filters filters, ParseFilters(file));
    AMC_RETURN_IF_ERROR(CheckPackedInputs(inputs.size(), filters.columns, vectors));
    std::vector<float> products;
    products.reserve(static_cast<size_t>(filters.rows * vectors));
    std::vector<double> sums(vectors);
    for (int64_t row = 0; row < filters.rows; ++row) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (int64_t c = 0; c < filters.columns; ++c) {
        const double weight = filters.at(row, c);
        for (int64_t v = 0; v < vectors; ++v) sums[v] += weight * inputs[c * vectors + v];
      }
      products.insert(products.end(), sums.begin(), sums.end());
    }
    return products;
  }

  absl::StatusOr<BackendCost> Cost(const LayerWeights& layer,
                                   const LayerInput& input) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    AMC_RETURN_IF_ERROR(CheckInput(layer, input));
    BackendCost cost;
    cost.nonzeros = static_cast<int64_t>(layer.values.size());
    cost.bytes = 2 * cost.nonzeros;
    cost.cycles = CountCnvlutinCycles(layer, input).cycles;
    cost.microseconds = static_cast<double>(cost.cycles) / kMegahertz;
    return cost;
  }
};

}  // namespace

CnvlutinCycles CountCnvlutinCycles(const LayerWeights& layer, const LayerInput& input) {
  const std::vector<int64_t> counts = CountBricks(layer, input);
  const int64_t depth = (layer.channels + kBrick - 1) / kBrick;
  CnvlutinCycles result;
  for (int64_t position = 0; position < layer.positions(); ++position) {
    std::array<int64_t, kLanes> lanes = {};
    int64_t brick = 0;
    for (const int64_t offset : WindowOffsets(layer, position)) {
      for (int64_t d = 0; d < depth; ++d, ++brick) {
        const int64_t values = offset < 0 ? 0 : counts[offset * depth + d];
        lanes[brick % kLanes] += std::max<int64_t>(1, values);
      }
    }
    result.cycles += *std::max_element(lanes.begin(), lanes.end());
    result.baseline += brick;
  }
  const int64_t passes = (layer.outputs + kFilters - 1) / kFilters;
  result.cycles *= passes;
  result.baseline *= passes;
  return result;
}

const Backend& CnvlutinBackend() {
  static const Cnvlutin backend;
  return backend;
}

}  // namespace amc
