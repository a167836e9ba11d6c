#include "env/backend/eie.h"

#include <algorithm>
#include <cmath>

#include "base/status_macros.h"
#include "env/backend/eie_cycles.h"
#include "env/backend/eie_matrix.h"
#include "env/backend/fixed_point.h"
#include "env/backend/packed_file.h"
#include "env/backend/windows.h"

namespace amc {
namespace {

// The columns of im2col's matrix that are not zero at `position`, ascending.
std::vector<int64_t> NonZeroColumns(const LayerWeights& layer, const LayerInput& input,
                                    int64_t position) {
  const std::vector<int64_t> offsets = WindowOffsets(layer, position);
  const int64_t plane = layer.input_size[0] * layer.input_size[1];
  std::vector<int64_t> columns;
  int64_t column = 0;
  for (int64_t c = 0; c < layer.channels * layer.conv.groups; ++c) {
    for (const int64_t offset : offsets) {
      if (offset >= 0 && input.values[c * plane + offset] != 0) columns.push_back(column);
      ++column;
    }
  }
  return columns;
}

class Eie final : public Backend {
 public:
  absl::string_view name() const override { return "eie"; }
  absl::string_view extension() const override { return "bin"; }
  ColumnOrder column_order() const override { return ColumnOrder::kChannelsFirst; }

  absl::Status CheckEligible(const LayerWeights& layer) const override {
    if (const absl::Status size =
            CheckPackedSize(layer.outputs, layer.conv.groups * layer.features());
        !size.ok()) {
      return absl::FailedPreconditionError(size.message());
    }
    return FractionBits(layer.values).status();
  }

  absl::StatusOr<std::string> Write(const LayerWeights& layer) const override {
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, Matrix(layer));
    AMC_ASSIGN_OR_RETURN(const EieMatrix encoded, EncodeEie(matrix));
    return SerializeEie(encoded);
  }

  absl::StatusOr<DenseMatrix> Read(absl::string_view file) const override {
    AMC_ASSIGN_OR_RETURN(const EieMatrix matrix, ParseEie(file));
    return DecodeEie(matrix);
  }

  absl::StatusOr<double> Tolerance(const LayerWeights& layer) const override {
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, Matrix(layer));
    AMC_ASSIGN_OR_RETURN(const EieMatrix encoded, EncodeEie(matrix));
    const DenseMatrix decoded = DecodeEie(encoded);
    double largest = 0;
    for (size_t i = 0; i < matrix.values.size(); ++i) {
      const double difference = static_cast<double>(decoded.values[i]) - matrix.values[i];
      largest = std::max(largest, std::abs(difference));
    }
    return largest;
  }

  absl::StatusOr<std::vector<float>> Run(absl::string_view file, absl::Span<const float> inputs,
                                         int64_t vectors) const override {
    AMC_ASSIGN_OR_RETURN(const EieMatrix matrix, ParseEie(file));
    AMC_RETURN_IF_ERROR(CheckPackedInputs(inputs.size(), matrix.columns, vectors));
    // A few bytes can claim any number of rows.
    if (vectors > 0) AMC_RETURN_IF_ERROR(CheckPackedSize(matrix.rows, vectors));
    return MultiplyEie(matrix, inputs, vectors);
  }

  absl::StatusOr<BackendCost> Cost(const LayerWeights& layer,
                                   const LayerInput& input) const override {
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, Matrix(layer));
    AMC_RETURN_IF_ERROR(CheckInput(layer, input));
    AMC_ASSIGN_OR_RETURN(const EieCounts counts, CountEieEntries(matrix, kEieElements));
    const int64_t batch_columns = counts.BatchColumns();
    const int64_t batches = (counts.columns + batch_columns - 1) / batch_columns;
    BackendCost cost;
    cost.nonzeros = counts.Sum();
    cost.bytes = 32 + cost.nonzeros + 2 * kEieElements * (counts.columns + batches);
    const EieCycles model(counts, batch_columns);
    for (int64_t position = 0; position < layer.positions(); ++position) {
      cost.cycles += model.Count(NonZeroColumns(layer, input, position));
    }
    cost.microseconds = static_cast<double>(cost.cycles) / kEieMegahertz;
    return cost;
  }

 private:
  absl::StatusOr<DenseMatrix> Matrix(const LayerWeights& layer) const {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    return ToMatrix(layer, column_order());
  }
};

}  // namespace

const Backend& EieBackend() {
  static const Eie backend;
  return backend;
}

}  // namespace amc
