#include "env/backend/layer_check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kBlock = 4;           // rows and columns of a block
constexpr int64_t kPatternKernel = 9;   // entries of kernels that patterns are of
constexpr int64_t kPatternEntries = 4;  // of these that a pattern keeps
constexpr int64_t kVectors = 3;
constexpr double kRunTolerance = 1e-5;  // of the sum of the products' magnitudes

// Within `tolerance`.
absl::Status CheckValues(const Backend& backend, const LayerWeights& layer, const DenseMatrix& read,
                         double tolerance) {
  AMC_ASSIGN_OR_RETURN(const DenseMatrix wanted, ToMatrix(layer, backend.column_order()));
  if (read.rows != wanted.rows || read.columns != wanted.columns) {
    return absl::DataLossError(absl::StrCat("holds a matrix of ", read.rows, " x ", read.columns,
                                            ", the network one of ", wanted.rows, " x ",
                                            wanted.columns));
  }
  for (int64_t row = 0; row < wanted.rows; ++row) {
    for (int64_t column = 0; column < wanted.columns; ++column) {
      const double a = wanted.at(row, column), b = read.at(row, column);
      if (std::fabs(a - b) <= tolerance) continue;
      return absl::DataLossError(
          absl::StrFormat("has %g in row %d, column %d, the network %g (%g is allowed)", b, row,
                          column, a, tolerance));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRun(const Backend& backend, absl::string_view file, const DenseMatrix& read) {
  Rng rng(0);
  std::vector<float> inputs(static_cast<size_t>(read.columns * kVectors));
  for (float& value : inputs) value = static_cast<float>(rng.Normal());
  AMC_ASSIGN_OR_RETURN(const std::vector<float> outputs, backend.Run(file, inputs, kVectors));
  if (outputs.size() != static_cast<size_t>(read.rows * kVectors)) {
    return absl::DataLossError(
        absl::StrCat("gives ", outputs.size(), " outputs, want ", read.rows * kVectors));
  }
  for (int64_t row = 0; row < read.rows; ++row) {
    double sums[kVectors] = {}, magnitudes[kVectors] = {};
    for (int64_t column = 0; column < read.columns; ++column) {
      const double weight = read.at(row, column);
      for (int64_t v = 0; v < kVectors; ++v) {
        const double product = weight * inputs[static_cast<size_t>(column * kVectors + v)];
        sums[v] += product;
        magnitudes[v] += std::fabs(product);
      }
    }
    for (int64_t v = 0; v < kVectors; ++v) {
      const double found = outputs[static_cast<size_t>(row * kVectors + v)];
      if (std::fabs(found - sums[v]) <= kRunTolerance * magnitudes[v]) continue;
      return absl::DataLossError(
          absl::StrFormat("gives %g in row %d, its weights %g", found, row, sums[v]));
    }
  }
  return absl::OkStatus();
}

// Whether the zeros of `layer` fill runs of `length` neighbouring values.
bool ZerosFillRuns(const LayerWeights& layer, int64_t length) {
  const auto size = static_cast<int64_t>(layer.values.size());
  for (int64_t first = 0; first < size; first += length) {
    const auto begin = layer.values.begin() + first;
    const auto zeros = std::count(begin, begin + length, 0.0f);
    if (zeros != 0 && zeros != length) return false;
  }
  return true;
}

// Whether the zeros of `layer` fill blocks of 4 x 4 weights of outputs x features.
bool ZerosFillBlocks(const LayerWeights& layer) {
  const int64_t features = layer.features();
  if (layer.outputs % kBlock != 0 || features % kBlock != 0) return false;
  for (int64_t row = 0; row < layer.outputs; row += kBlock) {
    for (int64_t column = 0; column < features; column += kBlock) {
      int64_t zeros = 0;
      for (int64_t i = row; i < row + kBlock; ++i) {
        const auto begin = layer.values.begin() + i * features + column;
        zeros += std::count(begin, begin + kBlock, 0.0f);
      }
      if (zeros != 0 && zeros != kBlock * kBlock) return false;
    }
  }
  return true;
}

// Whether every kernel is one of 3x3 with at most 4 entries that are not zero.
bool IsPatterned(const LayerWeights& layer) {
  if (layer.conv.kernel != Pair{3, 3}) return false;
  const auto size = static_cast<int64_t>(layer.values.size());
  for (int64_t first = 0; first < size; first += kPatternKernel) {
    const auto begin = layer.values.begin() + first;
    const auto zeros = std::count(begin, begin + kPatternKernel, 0.0f);
    if (kPatternKernel - zeros > kPatternEntries) return false;
  }
  return true;
}

// Whether at most 2 of every 4 neighbouring input channels are kept, at every kernel position.
bool IsTwoOfFour(const LayerWeights& layer) {
  if (layer.channels % 4 != 0) return false;
  const int64_t kernel = layer.conv.kernel[0] * layer.conv.kernel[1];
  for (int64_t o = 0; o < layer.outputs; ++o) {
    for (int64_t c = 0; c < layer.channels; c += 4) {
      for (int64_t k = 0; k < kernel; ++k) {
        int kept = 0;
        for (int64_t i = 0; i < 4; ++i) {
          const int64_t at = (o * layer.channels + c + i) * kernel + k;
          kept += layer.values[static_cast<size_t>(at)] != 0;
        }
        if (kept > 2) return false;
      }
    }
  }
  return true;
}

}  // namespace

absl::StatusOr<double> CheckLayerFile(const Backend& backend, const LayerWeights& layer,
                                      absl::string_view file) {
  // A grouped layer's matrix may be far larger than its weights: this refuses it before it is made.
  AMC_RETURN_IF_ERROR(backend.CheckEligible(layer));
  AMC_ASSIGN_OR_RETURN(const DenseMatrix read, backend.Read(file));
  AMC_ASSIGN_OR_RETURN(const double tolerance, backend.Tolerance(layer));
  AMC_RETURN_IF_ERROR(CheckValues(backend, layer, read, tolerance));
  AMC_RETURN_IF_ERROR(CheckRun(backend, file, read));
  return tolerance;
}

std::string ZeroPattern(const LayerWeights& layer) {
  if (layer.NonZeros() == static_cast<int64_t>(layer.values.size())) return "dense";
  const Pair& kernel = layer.conv.kernel;
  if (kernel[0] * kernel[1] > 1 && ZerosFillRuns(layer, kernel[0] * kernel[1])) return "kernel";
  if (ZerosFillBlocks(layer)) return "block";
  if (IsPatterned(layer)) return "pattern";
  if (IsTwoOfFour(layer)) return "2:4";
  if (kernel[1] > 1 && ZerosFillRuns(layer, kernel[1])) return "vector";
  return "element";
}

}  // namespace amc
