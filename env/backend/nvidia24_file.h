// The file of the backend "nvidia24", and the matrix in it: of every 4 neighbouring columns 2.
//
// A safetensors file with the metadata
//   format "nvidia24"; rows, columns; type "fp16", "bf16" or "int8"; cutlass "yes", or why
//   metadata_cutlass is not there
// and the tensors
//   values            F16, BF16 or I8 [rows, columns / 2]: the kept weights
//   metadata          I16 (of int8: I32) [rows, words]: nvidia24_metadata.h
//   metadata_cutlass  the same words in CUTLASS's order, where rows and columns are multiples of 32
//                     and 64 (of int8: 16 and 128): PyTorch's sparse_semi_structured tensors
//   scales            of int8 alone, F32 [rows]: a weight is its value times its row's scale
//
// The opaque blobs of cuSPARSELt are never written: they hold for one GPU and one version of the
// library, which makes them from the dense weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/backend/nvidia24_metadata.h"

namespace amc {

enum class Nvidia24Type { kFp16, kBf16, kInt8 };
absl::string_view Nvidia24TypeName(Nvidia24Type type);  // "fp16"
int64_t Nvidia24ValueBytes(Nvidia24Type type);          // of a weight: 2, of int8 1

// The largest magnitude of an int8 value; -128 is not used.
inline constexpr int kMostNvidia24Int8 = 127;

// Two of every four columns: rows x columns / 2 values, rows x columns / 4 nibbles.
struct TwoOfFour {
  int64_t rows = 0, columns = 0;
  std::vector<float> values = {};
  std::vector<uint8_t> nibbles = {};
};

// Calls `visit(row, column, value)` for every kept value, row by row.
template <typename Visit>
void ForEachKept(const TwoOfFour& matrix, Visit visit) {
  const int64_t groups = matrix.columns / 4;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t group = row * groups; group < (row + 1) * groups; ++group) {
      const auto kept = *KeptBy(matrix.nibbles[group]);
      for (int64_t i = 0; i < 2; ++i) {
        visit(row, (group - row * groups) * 4 + kept[i], matrix.values[group * 2 + i]);
      }
    }
  }
}

// Whether a weight stays finite.
bool FitsNvidia24(Nvidia24Type type, float weight);

// What a weight becomes in 16 bits (int8: the lower 8, of weight / scale), and what they are worth.
// Only int8 has a scale.
uint16_t EncodeNvidia24(Nvidia24Type type, float weight, float scale);
float DecodeNvidia24(Nvidia24Type type, uint16_t bits, float scale);

// The file, with values rounded to `type`, which they do not overflow.
absl::StatusOr<std::string> WriteNvidia24File(const TwoOfFour& matrix, Nvidia24Type type);

// The matrix of a file of any type. InvalidArgument says what is wrong with which tensor.
absl::StatusOr<TwoOfFour> ReadNvidia24File(absl::string_view file);

// Of values, plain metadata and scales.
int64_t Nvidia24Bytes(int64_t rows, int64_t columns, Nvidia24Type type);

}  // namespace amc
