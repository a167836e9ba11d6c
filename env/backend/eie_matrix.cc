#include "env/backend/eie_matrix.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/codebook.h"
#include "env/backend/fixed_point.h"
#include "env/backend/packed_file.h"

namespace amc {
namespace {

constexpr absl::string_view kMagic = "EIE1";
constexpr uint16_t kVersion = 1;
constexpr int kIndexBits = 4;
constexpr int64_t kSpan = 1 << kIndexBits;  // rows that a padding entry takes up
constexpr uint8_t kPadding = 15 << 4;

int64_t LocalRows(int64_t rows, int64_t elements, int64_t element) {
  return (rows - element + elements - 1) / elements;
}

int64_t ColumnsOfBatch(const EieMatrix& matrix, int64_t batch) {
  return std::min(matrix.batch_columns, matrix.columns - batch * matrix.batch_columns);
}

// Calls `visit(row, column, v)` for all entries but padding.
template <typename Visit>
void ForEachEntry(const EieMatrix& matrix, Visit visit) {
  for (size_t t = 0; t < matrix.tables.size(); ++t) {
    const EieTable& table = matrix.tables[t];
    const int64_t element = static_cast<int64_t>(t) % matrix.elements;
    const int64_t first = static_cast<int64_t>(t) / matrix.elements * matrix.batch_columns;
    for (size_t c = 0; c + 1 < table.pointers.size(); ++c) {
      int64_t local = 0;
      for (size_t e = table.pointers[c]; e < table.pointers[c + 1]; ++e) {
        local += table.entries[e] >> 4;
        const int v = table.entries[e] & 15;
        if (v != 0) visit(local * matrix.elements + element, first + static_cast<int64_t>(c), v);
        ++local;
      }
    }
  }
}

// The tables of `counts`, with entries that are not written yet.
std::vector<EieTable> EmptyTables(const EieCounts& counts, int64_t batch_columns) {
  std::vector<EieTable> tables;
  for (int64_t first = 0; first < counts.columns; first += batch_columns) {
    for (int64_t element = 0; element < counts.elements; ++element) {
      EieTable table;
      table.pointers.push_back(0);
      for (const uint16_t count : counts.of(element).subspan(first, batch_columns)) {
        table.pointers.push_back(static_cast<uint16_t>(table.pointers.back() + count));
      }
      table.entries.assign(table.pointers.back(), kPadding);
      tables.push_back(std::move(table));
    }
  }
  return tables;
}

// Row by row, because that is how codes lie in memory: `next` and `row_after` say where each
// column's next entry goes.
void FillElement(absl::Span<const uint8_t> codes, int64_t element, EieMatrix& matrix) {
  std::vector<size_t> next(matrix.columns);
  std::vector<int64_t> row_after(matrix.columns);
  const auto table_of = [&](int64_t column) -> EieTable& {
    return matrix.tables[column / matrix.batch_columns * matrix.elements + element];
  };
  for (int64_t c = 0; c < matrix.columns; ++c) {
    next[c] = table_of(c).pointers[c % matrix.batch_columns];
  }
  for (int64_t row = element, local = 0; row < matrix.rows; row += matrix.elements, ++local) {
    for (int64_t c = 0; c < matrix.columns; ++c) {
      const uint8_t v = codes[row * matrix.columns + c];
      if (v == 0) continue;
      const int64_t zeros = local - row_after[c];
      next[c] += zeros / kSpan;  // padding, which is there already
      table_of(c).entries[next[c]++] = static_cast<uint8_t>(v | (zeros % kSpan) << 4);
      row_after[c] = local + 1;
    }
  }
}

absl::Status CheckTable(const EieTable& table, int64_t local_rows) {
  for (size_t c = 0; c + 1 < table.pointers.size(); ++c) {
    if (table.pointers[c + 1] < table.pointers[c]) {
      return absl::InvalidArgumentError(absl::StrCat(
          "pointer ", c + 1, " is ", table.pointers[c + 1], " after ", table.pointers[c]));
    }
    int64_t local = 0;
    for (size_t e = table.pointers[c]; e < table.pointers[c + 1]; ++e) {
      local += (table.entries[e] >> 4) + 1;
      if (local > local_rows) {
        return absl::InvalidArgumentError(
            absl::StrCat("entry ", e, " is for row ", local - 1, " of ", local_rows, " rows"));
      }
      if ((table.entries[e] & 15) == 0 && table.entries[e] != kPadding) {
        return absl::InvalidArgumentError(
            absl::StrCat("entry ", e, " pads with z = ", table.entries[e] >> 4, ", want 15"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<EieTable> ReadTable(PackedReader& reader, int64_t columns, int64_t local_rows) {
  const absl::string_view pointers = reader.Take(2 * (static_cast<uint64_t>(columns) + 1));
  AMC_RETURN_IF_ERROR(reader.status());
  EieTable table;
  table.pointers.reserve(columns + 1);
  for (int64_t c = 0; c <= columns; ++c) table.pointers.push_back(WordAt(pointers, c));
  if (table.pointers[0] != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the first pointer is ", table.pointers[0], ", want 0"));
  }
  const absl::string_view entries = reader.Take(table.pointers.back());
  AMC_RETURN_IF_ERROR(reader.status());
  table.entries.assign(entries.begin(), entries.end());
  // Pointers ascend to the last one, or CheckTable finds the one that does not, before an entry
  // past the end is looked at.
  const auto largest = std::max_element(table.pointers.begin(), table.pointers.end());
  if (*largest > table.entries.size()) {
    return absl::InvalidArgumentError(absl::StrCat("pointer ", largest - table.pointers.begin(),
                                                   " is ", *largest, ", the last is ",
                                                   table.pointers.back()));
  }
  AMC_RETURN_IF_ERROR(CheckTable(table, local_rows));
  return table;
}

absl::StatusOr<EieMatrix> ReadHeader(PackedReader& reader) {
  EieMatrix matrix;
  matrix.elements = reader.U16();
  matrix.rows = reader.U32();
  matrix.columns = reader.U32();
  matrix.batch_columns = reader.U32();
  const int index_bits = reader.U8();
  matrix.fraction_bits = reader.U8();
  for (int16_t& value : matrix.codebook) value = reader.I16();
  AMC_RETURN_IF_ERROR(reader.status());
  AMC_RETURN_IF_ERROR(CheckPackedSize(matrix.rows, matrix.columns));
  if (matrix.elements < 1 || matrix.batch_columns < 1 || matrix.batch_columns > kEieBatchColumns) {
    return absl::InvalidArgumentError(
        absl::StrCat(matrix.elements, " processing elements, want some, and batches of ",
                     matrix.batch_columns, " columns, want 1 to ", kEieBatchColumns));
  }
  if (LocalRows(matrix.rows, matrix.elements, 0) > kEieLongestBatch) {
    return absl::InvalidArgumentError(absl::StrCat(matrix.rows, " rows on ", matrix.elements,
                                                   " processing elements, want at most ",
                                                   kEieLongestBatch, " on each"));
  }
  if (index_bits != kIndexBits || matrix.fraction_bits > kMaxFractionBits ||
      matrix.codebook[0] != 0) {
    return absl::InvalidArgumentError(absl::StrCat("indices of ", index_bits, " bits, want 4; ",
                                                   matrix.fraction_bits,
                                                   " fraction bits, want 0 to ", kMaxFractionBits,
                                                   "; a codebook that begins "
                                                   "with ",
                                                   matrix.codebook[0], ", want 0"));
  }
  return matrix;
}

}  // namespace

int64_t EieCounts::Sum() const { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

int64_t EieCounts::BatchColumns() const {
  const auto fits = [&](int64_t size) {
    for (int64_t element = 0; element < elements; ++element) {
      for (int64_t first = 0; first < columns; first += size) {
        const auto batch = of(element).subspan(first, size);
        if (std::accumulate(batch.begin(), batch.end(), int64_t{0}) > kEieLongestBatch) {
          return false;
        }
      }
    }
    return true;
  };
  int64_t size = kEieBatchColumns;
  while (!fits(size)) size /= 2;
  return size;
}

absl::StatusOr<EieCounts> CountEieEntries(const DenseMatrix& matrix, int64_t elements) {
  if (elements < 1 || elements > UINT16_MAX ||
      LocalRows(matrix.rows, elements, 0) > kEieLongestBatch) {
    return absl::FailedPreconditionError(
        absl::StrCat(matrix.rows, " rows on ", elements, " processing elements, want at most ",
                     kEieLongestBatch, " rows on each of at most ", UINT16_MAX));
  }
  EieCounts result{elements, matrix.columns};
  result.counts.resize(static_cast<size_t>(elements * matrix.columns));
  for (int64_t element = 0; element < elements; ++element) {
    uint16_t* const counts = &result.counts[element * matrix.columns];
    std::vector<int64_t> row_after(matrix.columns);
    for (int64_t row = element, local = 0; row < matrix.rows; row += elements, ++local) {
      for (int64_t c = 0; c < matrix.columns; ++c) {
        if (matrix.at(row, c) == 0) continue;
        counts[c] = static_cast<uint16_t>(counts[c] + (local - row_after[c]) / kSpan + 1);
        row_after[c] = local + 1;
      }
    }
  }
  return result;
}

int64_t EieMatrix::entries() const {
  int64_t sum = 0;
  for (const EieTable& table : tables) sum += static_cast<int64_t>(table.entries.size());
  return sum;
}

int64_t EieMatrix::bytes() const {
  int64_t sum = static_cast<int64_t>(sizeof(codebook));
  for (const EieTable& table : tables) {
    sum += static_cast<int64_t>(table.entries.size() + 2 * table.pointers.size());
  }
  return sum;
}

absl::StatusOr<EieMatrix> EncodeEie(const DenseMatrix& matrix, int64_t elements) {
  AMC_ASSIGN_OR_RETURN(const EieCounts counts, CountEieEntries(matrix, elements));
  // The weights fit before they are shared, and so do their centroids.
  AMC_RETURN_IF_ERROR(FractionBits(matrix.values).status());
  AMC_ASSIGN_OR_RETURN(const Codebook codebook, ShareWeights(matrix.values, {.bits = 4}));

  EieMatrix result{matrix.rows, matrix.columns, elements, counts.BatchColumns()};
  AMC_ASSIGN_OR_RETURN(result.fraction_bits, FractionBits(codebook.values));
  for (size_t i = 0; i < codebook.values.size(); ++i) {
    result.codebook[i] = ToFixed(codebook.values[i], result.fraction_bits);
  }
  result.tables = EmptyTables(counts, result.batch_columns);
  for (int64_t element = 0; element < elements; ++element) {
    FillElement(codebook.indices, element, result);
  }
  return result;
}

std::string SerializeEie(const EieMatrix& matrix) {
  PackedWriter writer(kMagic, kVersion);
  writer.U16(static_cast<uint16_t>(matrix.elements));
  writer.U32(static_cast<uint32_t>(matrix.rows));
  writer.U32(static_cast<uint32_t>(matrix.columns));
  writer.U32(static_cast<uint32_t>(matrix.batch_columns));
  writer.U8(kIndexBits);
  writer.U8(static_cast<uint8_t>(matrix.fraction_bits));
  for (const int16_t value : matrix.codebook) writer.I16(value);
  for (const EieTable& table : matrix.tables) {
    for (const uint16_t pointer : table.pointers) writer.U16(pointer);
    for (const uint8_t entry : table.entries) writer.U8(entry);
  }
  return std::move(writer).bytes();
}

absl::StatusOr<EieMatrix> ParseEie(absl::string_view file) {
  PackedReader reader(file, kMagic, kVersion);
  AMC_ASSIGN_OR_RETURN(EieMatrix matrix, ReadHeader(reader));
  for (int64_t batch = 0; batch < matrix.batches(); ++batch) {
    for (int64_t element = 0; element < matrix.elements; ++element) {
      auto table = ReadTable(reader, ColumnsOfBatch(matrix, batch),
                             LocalRows(matrix.rows, matrix.elements, element));
      if (!table.ok()) {
        return Annotate(table.status(), absl::StrCat("batch ", batch, ", element ", element));
      }
      matrix.tables.push_back(*std::move(table));
    }
  }
  AMC_RETURN_IF_ERROR(reader.Finish());
  return matrix;
}

DenseMatrix DecodeEie(const EieMatrix& matrix) {
  DenseMatrix dense{matrix.rows, matrix.columns};
  dense.values.resize(static_cast<size_t>(matrix.rows * matrix.columns));
  ForEachEntry(matrix, [&](int64_t row, int64_t column, int v) {
    dense.at(row, column) = FromFixed(matrix.codebook[v], matrix.fraction_bits);
  });
  return dense;
}

std::vector<float> MultiplyEie(const EieMatrix& matrix, absl::Span<const float> inputs,
                               int64_t vectors) {
  std::vector<double> sums(static_cast<size_t>(matrix.rows * vectors));
  ForEachEntry(matrix, [&](int64_t row, int64_t column, int v) {
    const double weight = FromFixed(matrix.codebook[v], matrix.fraction_bits);
    for (int64_t i = 0; i < vectors; ++i) {
      sums[row * vectors + i] += weight * inputs[column * vectors + i];
    }
  });
  return std::vector<float>(sums.begin(), sums.end());
}

std::vector<int64_t> MultiplyEie(const EieMatrix& matrix, absl::Span<const int16_t> activations) {
  std::vector<int64_t> sums(matrix.rows);
  ForEachEntry(matrix, [&](int64_t row, int64_t column, int v) {
    if (activations[column] == 0) return;
    sums[row] += int64_t{matrix.codebook[v]} * activations[column];
  });
  return sums;
}

}  // namespace amc
