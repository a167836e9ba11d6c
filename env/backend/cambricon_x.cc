#include "env/backend/cambricon_x.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/fixed_point.h"
#include "env/backend/packed_file.h"
#include "env/backend/windows.h"

namespace amc {
namespace {

constexpr absl::string_view kMagic = "CBX1";
constexpr uint16_t kVersion = 1;
constexpr int64_t kWindow = 256;
constexpr int64_t kElements = 16;
constexpr int64_t kMultipliers = 16;
constexpr double kMegahertz = 1000;

// Calls `visit(row, first column, the window's columns that are not zero, from its start on)`.
template <typename Visit>
void ForEachWindow(const DenseMatrix& matrix, Visit visit) {
  std::vector<int64_t> kept;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t first = 0; first < matrix.columns; first += kWindow) {
      const int64_t size = std::min(kWindow, matrix.columns - first);
      kept.resize(static_cast<size_t>(size));
      size_t count = 0;
      for (int64_t i = 0; i < size; ++i) {  // no branch, which would be taken at random
        kept[count] = i;
        count += matrix.at(row, first + i) != 0 ? 1 : 0;
      }
      kept.resize(count);
      visit(row, first, kept);
    }
  }
}

// How large a file is, but for its header.
struct IndexSizes {
  uint32_t synapses = 0;
  int64_t direct_bytes = 0, step_bytes = 0;

  CambriconXIndexing smaller() const {
    return direct_bytes <= step_bytes ? CambriconXIndexing::kDirect : CambriconXIndexing::kStep;
  }
};

IndexSizes MeasureIndex(const DenseMatrix& matrix) {
  IndexSizes sizes;
  ForEachWindow(matrix, [&](int64_t, int64_t first, const std::vector<int64_t>& kept) {
    sizes.synapses += static_cast<uint32_t>(kept.size());
    sizes.direct_bytes += (std::min(kWindow, matrix.columns - first) + 7) / 8;
    sizes.step_bytes += 2 + static_cast<int64_t>(kept.size());
  });
  return sizes;
}

// What a file's index says, synapse by synapse. Refers to the file.
class SynapseReader {
 public:
  explicit SynapseReader(absl::string_view file) : reader_(file, kMagic, kVersion) {}

  absl::Status ReadHeader() {
    const int indexing = reader_.U8();
    fraction_bits_ = reader_.U8();
    rows_ = reader_.U32();
    columns_ = reader_.U32();
    synapses_ = reader_.U32();
    values_ = reader_.Take(2 * synapses_);
    AMC_RETURN_IF_ERROR(reader_.status());
    AMC_RETURN_IF_ERROR(CheckPackedSize(rows_, columns_));
    if (indexing > 1 || fraction_bits_ > kMaxFractionBits) {
      return absl::InvalidArgumentError(
          absl::StrCat("byte 6: indexing ", indexing, ", want 0 or 1, and ", fraction_bits_,
                       " fraction bits, want at most ", kMaxFractionBits));
    }
    indexing_ = static_cast<CambriconXIndexing>(indexing);
    // What any index takes, so that what a caller allocates is in proportion to the file.
    const int64_t row_bytes = indexing_ == CambriconXIndexing::kDirect
                                  ? (columns_ + 7) / 8
                                  : 2 * ((columns_ + kWindow - 1) / kWindow);
    if (static_cast<uint64_t>(rows_ * row_bytes) > reader_.left()) {
      return absl::InvalidArgumentError(absl::StrCat("byte ", reader_.offset(), ": ",
                                                     reader_.left(), " bytes of index, want ",
                                                     rows_ * row_bytes, " or more"));
    }
    return absl::OkStatus();
  }

  // Calls `visit(row, column, value)`, after ReadHeader.
  template <typename Visit>
  absl::Status ForEach(Visit visit) {
    uint64_t next = 0;
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t first = 0; first < columns_; first += kWindow) {
        const size_t at = reader_.offset();
        AMC_RETURN_IF_ERROR(ReadWindow(std::min(kWindow, columns_ - first)));
        if (next + kept_.size() > synapses_) {
          return absl::InvalidArgumentError(
              absl::StrCat("byte ", at, ": synapse ", next + kept_.size(), " of ", synapses_));
        }
        for (const int64_t column : kept_) {
          const auto value = static_cast<int16_t>(WordAt(values_, next++));
          visit(row, first + column, FromFixed(value, fraction_bits_));
        }
      }
    }
    AMC_RETURN_IF_ERROR(reader_.Finish());
    if (next < synapses_) {
      return absl::InvalidArgumentError(
          absl::StrCat(synapses_, " synapses, of which the index has ", next));
    }
    return absl::OkStatus();
  }

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }

 private:
  // Into kept_, the window's columns that have synapses.
  absl::Status ReadWindow(int64_t columns) {
    kept_.clear();
    const size_t at = reader_.offset();
    if (indexing_ == CambriconXIndexing::kDirect) {
      int64_t column = 0;
      for (const char byte : reader_.Take((columns + 7) / 8)) {
        for (int bit = 0; bit < 8; ++bit, ++column) {
          if ((byte >> bit & 1) != 0) kept_.push_back(column);
        }
      }
    } else {
      const uint16_t count = reader_.U16();
      int64_t column = 0;
      for (const char byte : reader_.Take(count)) {
        const auto step = static_cast<uint8_t>(byte);
        if (step == 0 && !kept_.empty()) {
          return absl::InvalidArgumentError(absl::StrCat("byte ", at, ": a step of 0"));
        }
        column += step;
        kept_.push_back(column);
      }
    }
    AMC_RETURN_IF_ERROR(reader_.status());
    if (!kept_.empty() && kept_.back() >= columns) {
      return absl::InvalidArgumentError(
          absl::StrCat("byte ", at, ": column ", kept_.back(), " of a window of ", columns));
    }
    return absl::OkStatus();
  }

  PackedReader reader_;
  CambriconXIndexing indexing_ = CambriconXIndexing::kDirect;
  int fraction_bits_ = 0;
  int64_t rows_ = 0, columns_ = 0;
  uint64_t synapses_ = 0;
  absl::string_view values_;
  std::vector<int64_t> kept_;
};

class CambriconX final : public Backend {
 public:
  absl::string_view name() const override { return "cambricon_x"; }
  absl::string_view extension() const override { return "bin"; }
  ColumnOrder column_order() const override { return ColumnOrder::kChannelsLast; }

  absl::Status CheckEligible(const LayerWeights& layer) const override {
    if (layer.conv.groups > 1) {
      return absl::FailedPreconditionError(absl::StrCat(
          layer.conv.groups, " convolution groups: all neurons share one window of inputs"));
    }
    if (const absl::Status size = CheckPackedSize(layer.outputs, layer.features()); !size.ok()) {
      return absl::FailedPreconditionError(size.message());
    }
    return FractionBits(layer.values).status();
  }

  absl::StatusOr<std::string> Write(const LayerWeights& layer) const override {
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, Matrix(layer));
    return EncodeCambriconX(matrix);
  }

  absl::StatusOr<DenseMatrix> Read(absl::string_view file) const override {
    SynapseReader reader(file);
    AMC_RETURN_IF_ERROR(reader.ReadHeader());
    DenseMatrix matrix{reader.rows(), reader.columns()};
    matrix.values.resize(static_cast<size_t>(matrix.rows * matrix.columns));
    AMC_RETURN_IF_ERROR(reader.ForEach(
        [&](int64_t row, int64_t column, float value) { matrix.at(row, column) = value; }));
    return matrix;
  }

  absl::StatusOr<double> Tolerance(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    AMC_ASSIGN_OR_RETURN(const int fraction_bits, FractionBits(layer.values));
    return RoundingError(fraction_bits);
  }

  absl::StatusOr<std::vector<float>> Run(absl::string_view file, absl::Span<const float> inputs,
                                         int64_t vectors) const override {
    SynapseReader reader(file);
    AMC_RETURN_IF_ERROR(reader.ReadHeader());
    AMC_RETURN_IF_ERROR(CheckPackedInputs(inputs.size(), reader.columns(), vectors));
    std::vector<double> sums(static_cast<size_t>(reader.rows() * vectors));
    AMC_RETURN_IF_ERROR(reader.ForEach([&](int64_t row, int64_t column, double value) {
      for (int64_t v = 0; v < vectors; ++v) {
        sums[row * vectors + v] += value * inputs[column * vectors + v];
      }
    }));
    return std::vector<float>(sums.begin(), sums.end());
  }

  absl::StatusOr<BackendCost> Cost(const LayerWeights& layer,
                                   const LayerInput& input) const override {
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, Matrix(layer));
    AMC_RETURN_IF_ERROR(CheckInput(layer, input));
    const IndexSizes sizes = MeasureIndex(matrix);
    BackendCost cost;
    cost.nonzeros = sizes.synapses;
    cost.bytes = 2 * cost.nonzeros + std::min(sizes.direct_bytes, sizes.step_bytes);
    cost.cycles = layer.positions() * CambriconXCycles(matrix);
    cost.microseconds = static_cast<double>(cost.cycles) / kMegahertz;
    return cost;
  }

 private:
  absl::StatusOr<DenseMatrix> Matrix(const LayerWeights& layer) const {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    return ToMatrix(layer, column_order());
  }
};

}  // namespace

absl::StatusOr<std::string> EncodeCambriconX(const DenseMatrix& matrix,
                                             std::optional<CambriconXIndexing> indexing) {
  AMC_ASSIGN_OR_RETURN(const int fraction_bits, FractionBits(matrix.values));
  const IndexSizes sizes = MeasureIndex(matrix);
  const CambriconXIndexing chosen = indexing.value_or(sizes.smaller());

  PackedWriter writer(kMagic, kVersion);
  writer.U8(static_cast<uint8_t>(chosen));
  writer.U8(static_cast<uint8_t>(fraction_bits));
  writer.U32(static_cast<uint32_t>(matrix.rows));
  writer.U32(static_cast<uint32_t>(matrix.columns));
  writer.U32(sizes.synapses);
  for (const float value : matrix.values) {
    if (value != 0) writer.I16(ToFixed(value, fraction_bits));
  }
  ForEachWindow(matrix, [&](int64_t, int64_t first, const std::vector<int64_t>& kept) {
    if (chosen == CambriconXIndexing::kDirect) {
      std::string bits((std::min(kWindow, matrix.columns - first) + 7) / 8, '\0');
      for (const int64_t i : kept) {
        bits[i / 8] = static_cast<char>(static_cast<uint8_t>(bits[i / 8]) | 1 << (i % 8));
      }
      writer.Bytes(bits);
      return;
    }
    writer.U16(static_cast<uint16_t>(kept.size()));
    int64_t before = 0;
    for (const int64_t i : kept) {
      writer.U8(static_cast<uint8_t>(i - before));
      before = i;
    }
  });
  return std::move(writer).bytes();
}

int64_t CambriconXCycles(const DenseMatrix& matrix) {
  std::vector<int64_t> cycles(kElements);
  ForEachWindow(matrix, [&](int64_t row, int64_t, const std::vector<int64_t>& kept) {
    const auto synapses = static_cast<int64_t>(kept.size());
    cycles[row % kElements] += std::max<int64_t>(1, (synapses + kMultipliers - 1) / kMultipliers);
  });
  return *std::max_element(cycles.begin(), cycles.end());
}

const Backend& CambriconXBackend() {
  static const CambriconX backend;
  return backend;
}

}  // namespace amc
