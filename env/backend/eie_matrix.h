// EIE's compressed matrix (Han et al., ISCA 2016, section III).
//
// Of N processing elements, element k holds the rows i with i mod N = k; row i is its local row
// i div N. For every column it holds entries (v, z): v is a 4-bit index into a codebook of 16
// values in 16-bit fixed point, z the number of zeros before it since the last entry, in 4 bits. A
// longer run has an entry (v = 0, z = 15), which takes up 16 rows and decodes to zero, for every 16
// zeros; runs start anew in each column, and zeros at a column's end are not stored. Pointers say
// where a column's entries begin. They have 16 bits, so that columns come in batches, each with
// pointers from 0 on: of 4096 columns, as many as activation registers hold, or of half as many,
// and so on, until no element has more than 65535 entries in a batch.
//
// The file (the paper fixes neither headers nor the order of nibbles):
//
//   0   4   "EIE1"
//   4   2   version, 1
//   6   2   N
//   8   4   rows
//   12  4   columns
//   16  4   columns of a batch; the last may have fewer
//   20  1   bits of z, 4
//   21  1   fraction bits of the codebook's values
//   22  32  codebook, 16 x i16, the first 0
//   54      batch by batch, element by element: pointers, u16 x (columns of the batch + 1), the
//           first 0; entries, as many as the last pointer says, one byte v | z << 4 each
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "env/graph/layer_weights.h"

namespace amc {

inline constexpr int64_t kEieElements = 64;         // that the paper evaluates
inline constexpr int64_t kEieBatchColumns = 4096;   // 64 activation registers in each of them
inline constexpr int64_t kEieLongestBatch = 65535;  // entries that 16-bit pointers reach

// How many entries each element has for each column, padding included.
struct EieCounts {
  int64_t elements = 0, columns = 0;
  std::vector<uint16_t> counts = {};  // elements x columns

  absl::Span<const uint16_t> of(int64_t element) const {
    return absl::MakeSpan(counts).subspan(element * columns, columns);
  }
  int64_t Sum() const;
  // The columns of a batch that pointers can reach.
  int64_t BatchColumns() const;
};

// Of the values that are not zero. FailedPrecondition if an element would hold more than 65535
// rows, or there are more than 65535 elements.
absl::StatusOr<EieCounts> CountEieEntries(const DenseMatrix& matrix, int64_t elements);

// One element's part of a batch.
struct EieTable {
  std::vector<uint16_t> pointers = {};
  std::vector<uint8_t> entries = {};
  friend bool operator==(const EieTable&, const EieTable&) = default;
};

// Plain data. ParseEie and EncodeEie give what the functions below take for granted.
struct EieMatrix {
  int64_t rows = 0, columns = 0;
  int64_t elements = kEieElements;
  int64_t batch_columns = kEieBatchColumns;
  int fraction_bits = 0;
  std::array<int16_t, 16> codebook = {};
  std::vector<EieTable> tables = {};  // batches x elements

  int64_t batches() const { return (columns + batch_columns - 1) / batch_columns; }
  int64_t entries() const;
  // Of entries, pointers and codebook.
  int64_t bytes() const;
  friend bool operator==(const EieMatrix&, const EieMatrix&) = default;
};

// Shares the weights by k-means (15 centroids, linear start), rounds the centroids to fixed point
// and packs the result. FailedPrecondition as CountEieEntries, and where values do not fit fixed
// point.
absl::StatusOr<EieMatrix> EncodeEie(const DenseMatrix& matrix, int64_t elements = kEieElements);

// The file's bytes.
std::string SerializeEie(const EieMatrix& matrix);

// InvalidArgument names the byte, or the batch, element and entry, that is wrong.
absl::StatusOr<EieMatrix> ParseEie(absl::string_view file);

DenseMatrix DecodeEie(const EieMatrix& matrix);

// The product with `inputs` (columns x vectors): rows x vectors, summed up in double.
std::vector<float> MultiplyEie(const EieMatrix& matrix, absl::Span<const float> inputs,
                               int64_t vectors);

// The product with activations in fixed point, one for each column, in whole numbers and without
// overflow: exact, with the fraction bits of both together. Activations that are zero are skipped,
// as in the hardware.
std::vector<int64_t> MultiplyEie(const EieMatrix& matrix, absl::Span<const int16_t> activations);

}  // namespace amc
