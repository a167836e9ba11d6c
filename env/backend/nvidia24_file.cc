#include "env/backend/nvidia24_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "env/backend/half.h"
#include "env/backend/packed_file.h"
#include "env/backend/safetensors.h"

namespace amc {
namespace {

struct TypeRow {
  const char* name;
  SafetensorsType values, words;
  int word_bits;
  int64_t row_multiple, column_multiple;  // of CUTLASS's kernels
  float overflow;                         // the least magnitude that becomes infinite
};
// By Nvidia24Type.
constexpr std::array<TypeRow, 3> kTypes = {
    {{"fp16", SafetensorsType::kF16, SafetensorsType::kI16, 16, 32, 64, 65520},
     {"bf16", SafetensorsType::kBf16, SafetensorsType::kI16, 16, 32, 64, 0x1.FFp127f},
     {"int8", SafetensorsType::kI8, SafetensorsType::kI32, 32, 16, 128,
      std::numeric_limits<float>::infinity()}}};

const TypeRow& RowOf(Nvidia24Type type) { return kTypes[static_cast<size_t>(type)]; }

// One for each row: its largest magnitude becomes 127. Never subnormal, so that dividing by it
// makes no value over 127.
std::vector<float> ScalesOf(const TwoOfFour& matrix) {
  std::vector<float> scales(static_cast<size_t>(matrix.rows), 0.0f);
  ForEachKept(matrix, [&](int64_t row, int64_t, float value) {
    scales[row] = std::max(scales[row], std::fabs(value) / kMostNvidia24Int8);
  });
  for (float& scale : scales) scale = std::max(scale, std::numeric_limits<float>::min());
  return scales;
}

std::string NoMultiple(int64_t count, absl::string_view what, int64_t multiple) {
  return absl::StrCat(count, " ", what, " are no multiple of ", multiple);
}

// Why CUTLASS cannot take the matrix; nothing if it can.
std::optional<std::string> WhyNotCutlass(const TypeRow& type, int64_t rows, int64_t columns) {
  if (rows % type.row_multiple != 0) return NoMultiple(rows, "rows", type.row_multiple);
  if (columns % type.column_multiple != 0) {
    return NoMultiple(columns, "columns", type.column_multiple);
  }
  return std::nullopt;
}

// The lowest bytes of each of `words`, as many as `type` has.
std::string Narrowed(absl::Span<const uint32_t> words, SafetensorsType type) {
  std::string bytes;
  bytes.reserve(words.size() * static_cast<size_t>(SafetensorsTypeSize(type)));
  for (const uint32_t word : words) {
    for (int i = 0; i < SafetensorsTypeSize(type); ++i) {
      bytes.push_back(static_cast<char>(word >> 8 * i));
    }
  }
  return bytes;
}

std::vector<uint32_t> Widened(const SafetensorsTensor& tensor) {
  const auto size = static_cast<size_t>(SafetensorsTypeSize(tensor.type));
  std::vector<uint32_t> words(tensor.bytes.size() / size);
  for (size_t i = 0; i < tensor.bytes.size(); ++i) {
    words[i / size] |= uint32_t{static_cast<uint8_t>(tensor.bytes[i])} << 8 * (i % size);
  }
  return words;
}

absl::Status BadEntry(absl::string_view tensor, int64_t row, int64_t entry,
                      absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", tensor, ", row ", row, ", entry ", entry, ": ", what));
}

// The nibbles of rows x groups, out of metadata's words.
absl::StatusOr<std::vector<uint8_t>> UnpackNibbles(absl::Span<const uint32_t> words, int64_t rows,
                                                   int64_t groups, int word_bits) {
  const int64_t per_row = WordsPerRow(groups, word_bits);
  std::vector<uint8_t> nibbles;
  for (int64_t row = 0; row < rows; ++row) {
    const auto row_words = words.subspan(row * per_row, per_row);
    for (int64_t g = 0; g < per_row * word_bits / 4; ++g) {
      const uint8_t nibble = NibbleAt(row_words, g, word_bits);
      if (g >= groups ? nibble != kEmptyNibble : !KeptBy(nibble)) {
        return BadEntry("metadata", row, g * 4 / word_bits,
                        absl::StrCat("group ", g, " has the nibble ", nibble, ", want ",
                                     g >= groups ? "14, for it is no group of the row"
                                                 : "two ascending positions"));
      }
      if (g < groups) nibbles.push_back(nibble);
    }
  }
  return nibbles;
}

absl::Status CheckCutlass(const Safetensors& content, const TypeRow& type,
                          const SafetensorsTensor& metadata, absl::Span<const uint32_t> words,
                          int64_t columns) {
  const int64_t rows = metadata.shape[0];
  if (!content.tensors.contains("metadata_cutlass")) return absl::OkStatus();
  AMC_ASSIGN_OR_RETURN(const SafetensorsTensor tensor,
                       FindTensor(content, "metadata_cutlass", metadata.type, metadata.shape));
  if (const auto reason = WhyNotCutlass(type, rows, columns)) {
    return absl::InvalidArgumentError(absl::StrCat("tensor metadata_cutlass: ", *reason));
  }
  const std::vector<uint32_t> want = ReorderForCutlass(words, rows, type.word_bits);
  const std::vector<uint32_t> found = Widened(tensor);
  const auto at = std::mismatch(want.begin(), want.end(), found.begin()).first - want.begin();
  if (at == static_cast<int64_t>(want.size())) return absl::OkStatus();
  return BadEntry("metadata_cutlass", at / metadata.shape[1], at % metadata.shape[1],
                  "not the word that metadata has");
}

absl::StatusOr<Nvidia24Type> ParseType(const Safetensors& content) {
  AMC_ASSIGN_OR_RETURN(const std::string format, FindText(content, "format"));
  AMC_ASSIGN_OR_RETURN(const std::string name, FindText(content, "type"));
  for (const Nvidia24Type type : {Nvidia24Type::kFp16, Nvidia24Type::kBf16, Nvidia24Type::kInt8}) {
    if (format == "nvidia24" && name == RowOf(type).name) return type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("metadata format: \"", format, "\", type: \"", name,
                   "\", want \"nvidia24\", and \"fp16\", \"bf16\" or \"int8\""));
}

// Of int8: one for each row.
absl::StatusOr<std::vector<float>> ParseScales(const Safetensors& content, int64_t rows) {
  AMC_ASSIGN_OR_RETURN(const SafetensorsTensor tensor,
                       FindTensor(content, "scales", SafetensorsType::kF32, {rows}));
  std::vector<float> scales = CopyElements<float>(tensor);
  for (int64_t row = 0; row < rows; ++row) {
    if (!std::isnormal(scales[row]) || scales[row] < 0) {
      return BadEntry("scales", row, 0, absl::StrCat(scales[row], ", want a positive number"));
    }
  }
  return scales;
}

}  // namespace

absl::string_view Nvidia24TypeName(Nvidia24Type type) { return RowOf(type).name; }

int64_t Nvidia24ValueBytes(Nvidia24Type type) { return SafetensorsTypeSize(RowOf(type).values); }

bool FitsNvidia24(Nvidia24Type type, float weight) {
  return std::fabs(weight) < RowOf(type).overflow;
}

float DecodeNvidia24(Nvidia24Type type, uint16_t bits, float scale) {
  switch (type) {
    case Nvidia24Type::kFp16:
      return Fp16ToFloat(bits);
    case Nvidia24Type::kBf16:
      return Bf16ToFloat(bits);
    case Nvidia24Type::kInt8:
      return static_cast<float>(static_cast<int8_t>(bits)) * scale;
  }
  return 0;
}

uint16_t EncodeNvidia24(Nvidia24Type type, float weight, float scale) {
  switch (type) {
    case Nvidia24Type::kFp16:
      return FloatToFp16(weight);
    case Nvidia24Type::kBf16:
      return FloatToBf16(weight);
    case Nvidia24Type::kInt8:
      return static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(double{weight} / scale)));
  }
  return 0;
}

absl::StatusOr<std::string> WriteNvidia24File(const TwoOfFour& matrix, Nvidia24Type value_type) {
  const TypeRow& type = RowOf(value_type);
  Safetensors content;
  content.metadata["format"] = "nvidia24";
  content.metadata["type"] = type.name;
  content.metadata["rows"] = absl::StrCat(matrix.rows);
  content.metadata["columns"] = absl::StrCat(matrix.columns);

  const std::vector<float> scales = ScalesOf(matrix);
  std::vector<uint32_t> encoded;
  encoded.reserve(matrix.values.size());
  ForEachKept(matrix, [&](int64_t row, int64_t, float value) {
    encoded.push_back(EncodeNvidia24(value_type, value, scales[row]));
  });
  const std::string values = Narrowed(encoded, type.values);
  content.tensors["values"] = {type.values, {matrix.rows, matrix.columns / 2}, values};
  if (value_type == Nvidia24Type::kInt8) {
    content.tensors["scales"] = ViewElements(SafetensorsType::kF32, {matrix.rows}, scales);
  }

  const std::vector<uint32_t> words = PackNibbles(matrix.nibbles, matrix.rows, type.word_bits);
  const std::vector<int64_t> shape = {matrix.rows, WordsPerRow(matrix.columns / 4, type.word_bits)};
  const std::string plain = Narrowed(words, type.words);
  content.tensors["metadata"] = {type.words, shape, plain};
  const auto reason = WhyNotCutlass(type, matrix.rows, matrix.columns);
  std::string reordered;
  if (!reason) {
    reordered = Narrowed(ReorderForCutlass(words, matrix.rows, type.word_bits), type.words);
    content.tensors["metadata_cutlass"] = {type.words, shape, reordered};
  }
  content.metadata["cutlass"] = reason.value_or("yes");
  return SerializeSafetensors(content);
}

absl::StatusOr<TwoOfFour> ReadNvidia24File(absl::string_view file) {
  AMC_ASSIGN_OR_RETURN(const Safetensors content, ParseSafetensors(file));
  AMC_ASSIGN_OR_RETURN(const Nvidia24Type value_type, ParseType(content));
  const TypeRow& type = RowOf(value_type);
  TwoOfFour matrix;
  AMC_ASSIGN_OR_RETURN(matrix.rows, FindInteger(content, "rows", 1, kMaxPackedValues));
  AMC_ASSIGN_OR_RETURN(matrix.columns, FindInteger(content, "columns", 4, kMaxPackedValues));
  AMC_RETURN_IF_ERROR(CheckPackedSize(matrix.rows, matrix.columns));
  if (matrix.columns % 4 != 0) {
    return absl::InvalidArgumentError(NoMultiple(matrix.columns, "columns", 4));
  }
  const int64_t groups = matrix.columns / 4;
  AMC_ASSIGN_OR_RETURN(const SafetensorsTensor values,
                       FindTensor(content, "values", type.values, {matrix.rows, groups * 2}));
  AMC_ASSIGN_OR_RETURN(const SafetensorsTensor metadata,
                       FindTensor(content, "metadata", type.words,
                                  {matrix.rows, WordsPerRow(groups, type.word_bits)}));
  const std::vector<uint32_t> words = Widened(metadata);
  AMC_ASSIGN_OR_RETURN(matrix.nibbles, UnpackNibbles(words, matrix.rows, groups, type.word_bits));
  AMC_RETURN_IF_ERROR(CheckCutlass(content, type, metadata, words, matrix.columns));

  std::vector<float> scales(static_cast<size_t>(matrix.rows), 1.0f);
  if (value_type == Nvidia24Type::kInt8) {
    AMC_ASSIGN_OR_RETURN(scales, ParseScales(content, matrix.rows));
  }
  matrix.values.reserve(static_cast<size_t>(matrix.rows * groups * 2));
  for (const uint32_t bits : Widened(values)) {
    const auto at = static_cast<int64_t>(matrix.values.size());
    const int64_t row = at / (groups * 2);
    matrix.values.push_back(DecodeNvidia24(value_type, static_cast<uint16_t>(bits), scales[row]));
    if (!std::isfinite(matrix.values.back())) {
      return BadEntry("values", row, at % (groups * 2), "not a finite number");
    }
  }
  return matrix;
}

int64_t Nvidia24Bytes(int64_t rows, int64_t columns, Nvidia24Type type) {
  const TypeRow& row = RowOf(type);
  const int64_t words = rows * WordsPerRow(columns / 4, row.word_bits);
  const int64_t scales = type == Nvidia24Type::kInt8 ? 4 * rows : 0;
  return rows * columns / 2 * SafetensorsTypeSize(row.values) + words * row.word_bits / 8 + scales;
}

}  // namespace amc
