#include "env/backend/nvidia24.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/half.h"
#include "env/backend/nvidia24_metadata.h"
#include "env/backend/packed_file.h"
#include "env/backend/safetensors.h"
#include "env/backend/windows.h"

namespace amc {
namespace {

constexpr int kMostInt8 = 127;

struct TypeRow {
  const char* name;
  SafetensorsType values, words;
  int word_bits;
  int64_t row_multiple, column_multiple;  // of CUTLASS's kernels
};
// By Nvidia24Type.
constexpr std::array<TypeRow, 3> kTypes = {
    {{"fp16", SafetensorsType::kF16, SafetensorsType::kI16, 16, 32, 64},
     {"bf16", SafetensorsType::kBf16, SafetensorsType::kI16, 16, 32, 64},
     {"int8", SafetensorsType::kI8, SafetensorsType::kI32, 32, 16, 128}}};

const TypeRow& RowOf(Nvidia24Type type) { return kTypes[static_cast<size_t>(type)]; }

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

// What a value of one of the types is worth, and how a weight becomes one.
float Decoded(Nvidia24Type type, uint16_t bits, float scale) {
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

uint16_t Encoded(Nvidia24Type type, float weight, float scale) {
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

// One for each row: its largest magnitude becomes 127. Never subnormal, so that dividing by it
// makes no value over 127.
std::vector<float> ScalesOf(const TwoOfFour& matrix) {
  std::vector<float> scales(static_cast<size_t>(matrix.rows), 0.0f);
  ForEachKept(matrix, [&](int64_t row, int64_t, float value) {
    scales[row] = std::max(scales[row], std::fabs(value) / kMostInt8);
  });
  for (float& scale : scales) scale = std::max(scale, std::numeric_limits<float>::min());
  return scales;
}

TwoOfFour Compress(const DenseMatrix& matrix) {
  TwoOfFour result{matrix.rows, matrix.columns};
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

absl::StatusOr<TwoOfFour> Parse(absl::string_view file) {
  AMC_ASSIGN_OR_RETURN(const Safetensors content, ParseSafetensors(file));
  AMC_ASSIGN_OR_RETURN(const std::string format, FindText(content, "format"));
  AMC_ASSIGN_OR_RETURN(const std::string type_name, FindText(content, "type"));
  const auto* const type = std::find_if(kTypes.begin(), kTypes.end(),
                                        [&](const TypeRow& row) { return row.name == type_name; });
  if (format != "nvidia24" || type == kTypes.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata format: \"", format, "\", type: \"", type_name,
                     "\", want \"nvidia24\", and \"fp16\", \"bf16\" or \"int8\""));
  }
  TwoOfFour matrix;
  AMC_ASSIGN_OR_RETURN(matrix.rows, FindInteger(content, "rows", 1, kMaxPackedValues));
  AMC_ASSIGN_OR_RETURN(matrix.columns, FindInteger(content, "columns", 4, kMaxPackedValues));
  AMC_RETURN_IF_ERROR(CheckPackedSize(matrix.rows, matrix.columns));
  if (matrix.columns % 4 != 0) {
    return absl::InvalidArgumentError(NoMultiple(matrix.columns, "columns", 4));
  }
  const int64_t groups = matrix.columns / 4;
  AMC_ASSIGN_OR_RETURN(const SafetensorsTensor values,
                       FindTensor(content, "values", type->values, {matrix.rows, groups * 2}));
  AMC_ASSIGN_OR_RETURN(const SafetensorsTensor metadata,
                       FindTensor(content, "metadata", type->words,
                                  {matrix.rows, WordsPerRow(groups, type->word_bits)}));
  const std::vector<uint32_t> words = Widened(metadata);
  AMC_ASSIGN_OR_RETURN(matrix.nibbles, UnpackNibbles(words, matrix.rows, groups, type->word_bits));
  AMC_RETURN_IF_ERROR(CheckCutlass(content, *type, metadata, words, matrix.columns));

  const auto value_type = static_cast<Nvidia24Type>(type - kTypes.begin());
  std::vector<float> scales(static_cast<size_t>(matrix.rows), 1.0f);
  if (value_type == Nvidia24Type::kInt8) {
    AMC_ASSIGN_OR_RETURN(scales, ParseScales(content, matrix.rows));
  }
  for (const uint32_t bits : Widened(values)) {
    const auto at = static_cast<int64_t>(matrix.values.size());
    const int64_t row = at / (groups * 2);
    matrix.values.push_back(Decoded(value_type, static_cast<uint16_t>(bits), scales[row]));
    if (!std::isfinite(matrix.values.back())) {
      return BadEntry("values", row, at % (groups * 2), "not a finite number");
    }
  }
  return matrix;
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
    const TwoOfFour matrix = Compress(dense);
    const TypeRow& type = RowOf(type_);
    Safetensors content;
    content.metadata["format"] = "nvidia24";
    content.metadata["type"] = type.name;
    content.metadata["rows"] = absl::StrCat(matrix.rows);
    content.metadata["columns"] = absl::StrCat(matrix.columns);

    const std::vector<float> scales = ScalesOf(matrix);
    std::vector<uint32_t> encoded;
    ForEachKept(matrix, [&](int64_t row, int64_t, float value) {
      encoded.push_back(Encoded(type_, value, scales[row]));
    });
    const std::string values = Narrowed(encoded, type.values);
    content.tensors["values"] = {type.values, {matrix.rows, matrix.columns / 2}, values};
    if (type_ == Nvidia24Type::kInt8) {
      content.tensors["scales"] = ViewElements(SafetensorsType::kF32, {matrix.rows}, scales);
    }

    const std::vector<uint32_t> words = PackNibbles(matrix.nibbles, matrix.rows, type.word_bits);
    const std::vector<int64_t> shape = {matrix.rows,
                                        WordsPerRow(matrix.columns / 4, type.word_bits)};
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

  absl::StatusOr<DenseMatrix> Read(absl::string_view file) const override {
    AMC_ASSIGN_OR_RETURN(const TwoOfFour matrix, Parse(file));
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
        const float scale = std::max(largest / kMostInt8, std::numeric_limits<float>::min());
        return double{scale} * (0.5 + kMostInt8 * std::numeric_limits<float>::epsilon());
      }
    }
    return absl::InternalError("a type without a tolerance");
  }

  absl::StatusOr<std::vector<float>> Run(absl::string_view file, absl::Span<const float> inputs,
                                         int64_t vectors) const override {
    AMC_ASSIGN_OR_RETURN(const TwoOfFour matrix, Parse(file));
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
    const TypeRow& type = RowOf(type_);
    const int64_t kept = matrix.rows * matrix.columns / 2;
    const int64_t words = matrix.rows * WordsPerRow(matrix.columns / 4, type.word_bits);
    const int64_t scales = type_ == Nvidia24Type::kInt8 ? 4 * matrix.rows : 0;
    return BackendCost{
        .nonzeros = kept,
        .bytes = kept * SafetensorsTypeSize(type.values) + words * type.word_bits / 8 + scales};
  }

 private:
  // FailedPrecondition as CheckEligible.
  absl::StatusOr<DenseMatrix> Matrix(const LayerWeights& layer) const {
    const auto refuse = [&](absl::string_view reason) {
      return absl::FailedPreconditionError(absl::StrCat("layer ", layer.name, ": ", reason));
    };
    if (layer.conv.groups > 1) {
      return refuse(absl::StrCat(layer.conv.groups, " convolution groups, want 1"));
    }
    if (layer.channels % 4 != 0) return refuse(NoMultiple(layer.channels, "input channels", 4));
    if (const auto size = CheckPackedSize(layer.outputs, layer.features()); !size.ok()) {
      return refuse(size.message());
    }
    const auto bad = std::find_if(layer.values.begin(), layer.values.end(), [&](float value) {
      return !std::isfinite(value) || (type_ != Nvidia24Type::kInt8 &&
                                       !std::isfinite(Decoded(type_, Encoded(type_, value, 1), 1)));
    });
    if (bad != layer.values.end()) {
      return refuse(absl::StrCat("weight ", bad - layer.values.begin(), " is ", *bad, ", which ",
                                 RowOf(type_).name, " cannot hold"));
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
