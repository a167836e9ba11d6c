#include "env/backend/compressed.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/csr.h"
#include "env/backend/packed_file.h"
#include "env/backend/safetensors.h"
#include "env/backend/windows.h"

namespace amc {
namespace {

using MultiplyFunction = void(const CsrMatrix&, absl::Span<const float>, int64_t,
                              absl::Span<float>);

// What the three differ in. A file's matrix is a CsrMatrix, of csc that of the transposed matrix.
struct Layout {
  const char* name;
  const char* pointers;  // tensors
  const char* indices;
  MultiplyFunction* multiply;
  bool transposed = false;
  bool blocks = false;
};
constexpr Layout kCsr = {"csr", "crow", "col", Multiply};
constexpr Layout kCsc = {"csc", "ccol", "row", MultiplyTransposed, /*transposed=*/true};
constexpr Layout kBsr = {"bsr",          "crow", "col", MultiplyBlocks, /*transposed=*/false,
                         /*blocks=*/true};

class CompressedBackend : public Backend {
 public:
  explicit CompressedBackend(const Layout& layout, Pair block = {1, 1})
      : layout_(layout), block_(block) {}

  absl::string_view name() const override { return layout_.name; }
  absl::string_view extension() const override { return "safetensors"; }
  ColumnOrder column_order() const override { return ColumnOrder::kChannelsFirst; }

  absl::Status CheckEligible(const LayerWeights& layer) const override {
    const int64_t rows = layer.outputs, columns = layer.conv.groups * layer.features();
    if (const absl::Status size = CheckPackedSize(rows, columns); !size.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("layer ", layer.name, ": ", size.message()));
    }
    if (rows % block_[0] != 0 || columns % block_[1] != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("layer ", layer.name, ": ", rows, " x ", columns,
                       " weights are no multiple of blocks of ", block_[0], " x ", block_[1]));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Write(const LayerWeights& layer) const override {
    AMC_ASSIGN_OR_RETURN(const CsrMatrix matrix, Compress(layer));
    Safetensors content;
    content.metadata["format"] = layout_.name;
    content.metadata["rows"] = absl::StrCat(layout_.transposed ? matrix.columns : matrix.rows);
    content.metadata["columns"] = absl::StrCat(layout_.transposed ? matrix.rows : matrix.columns);
    std::vector<int64_t> shape = {matrix.entries()};
    if (layout_.blocks) {
      content.metadata["block_rows"] = absl::StrCat(block_[0]);
      content.metadata["block_columns"] = absl::StrCat(block_[1]);
      shape = {matrix.entries(), block_[0], block_[1]};
    }
    const std::vector<int64_t> indices(matrix.col.begin(), matrix.col.end());
    content.tensors[layout_.pointers] =
        ViewElements(SafetensorsType::kI64, {matrix.block_rows() + 1}, matrix.crow);
    content.tensors[layout_.indices] =
        ViewElements(SafetensorsType::kI64, {matrix.entries()}, indices);
    content.tensors["values"] = ViewElements(SafetensorsType::kF32, shape, matrix.values);
    return SerializeSafetensors(content);
  }

  absl::StatusOr<DenseMatrix> Read(absl::string_view file) const override {
    AMC_ASSIGN_OR_RETURN(const CsrMatrix matrix, Parse(file));
    return layout_.transposed ? Transposed(ToDense(matrix)) : ToDense(matrix);
  }

  absl::StatusOr<double> Tolerance(const LayerWeights& layer) const override {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    return 0.0;
  }

  absl::StatusOr<std::vector<float>> Run(absl::string_view file, absl::Span<const float> inputs,
                                         int64_t vectors) const override {
    AMC_ASSIGN_OR_RETURN(const CsrMatrix matrix, Parse(file));
    const int64_t rows = layout_.transposed ? matrix.columns : matrix.rows;
    const int64_t columns = layout_.transposed ? matrix.rows : matrix.columns;
    AMC_RETURN_IF_ERROR(CheckPackedInputs(inputs.size(), columns, vectors));
    // Of csc a few bytes can claim any number of rows.
    if (vectors > 0) AMC_RETURN_IF_ERROR(CheckPackedSize(rows, vectors));
    std::vector<float> out(static_cast<size_t>(rows * vectors));
    layout_.multiply(matrix, inputs, vectors, absl::MakeSpan(out));
    return out;
  }

  absl::StatusOr<BackendCost> Cost(const LayerWeights& layer,
                                   const LayerInput& input) const override {
    AMC_ASSIGN_OR_RETURN(const CsrMatrix matrix, Compress(layer));
    AMC_RETURN_IF_ERROR(CheckInput(layer, input));
    return BackendCost{.nonzeros = static_cast<int64_t>(matrix.values.size()),
                       .bytes = matrix.bytes()};
  }

 private:
  absl::StatusOr<CsrMatrix> Compress(const LayerWeights& layer) const {
    AMC_RETURN_IF_ERROR(CheckEligible(layer));
    AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, ToMatrix(layer, column_order()));
    return ToCsr(layout_.transposed ? Transposed(matrix) : matrix, block_);
  }

  absl::StatusOr<CsrMatrix> Parse(absl::string_view file) const {
    AMC_ASSIGN_OR_RETURN(const Safetensors content, ParseSafetensors(file));
    AMC_ASSIGN_OR_RETURN(const std::string format, FindText(content, "format"));
    if (format != layout_.name) {
      return absl::InvalidArgumentError(
          absl::StrCat("metadata format: \"", format, "\", want \"", layout_.name, "\""));
    }
    AMC_ASSIGN_OR_RETURN(int64_t rows, FindInteger(content, "rows", 1, kMaxPackedValues));
    AMC_ASSIGN_OR_RETURN(int64_t columns, FindInteger(content, "columns", 1, kMaxPackedValues));
    AMC_RETURN_IF_ERROR(CheckPackedSize(rows, columns));
    Pair block = {1, 1};
    std::vector<int64_t> shape = {kAnySize};
    if (layout_.blocks) {
      AMC_ASSIGN_OR_RETURN(block[0], FindInteger(content, "block_rows", 1, rows));
      AMC_ASSIGN_OR_RETURN(block[1], FindInteger(content, "block_columns", 1, columns));
      shape = {kAnySize, block[0], block[1]};
    }
    AMC_ASSIGN_OR_RETURN(const SafetensorsTensor pointers,
                         FindTensor(content, layout_.pointers, SafetensorsType::kI64, {kAnySize}));
    AMC_ASSIGN_OR_RETURN(const SafetensorsTensor indices,
                         FindTensor(content, layout_.indices, SafetensorsType::kI64, {kAnySize}));
    AMC_ASSIGN_OR_RETURN(const SafetensorsTensor values,
                         FindTensor(content, "values", SafetensorsType::kF32, shape));
    if (layout_.transposed) std::swap(rows, columns);
    absl::StatusOr<CsrMatrix> matrix =
        MakeCsr(rows, columns, block, CopyElements<int64_t>(pointers),
                CopyElements<int64_t>(indices), CopyElements<float>(values));
    if (matrix.ok() || !layout_.transposed) return matrix;
    return Annotate(matrix.status(), "as rows of the transposed matrix");
  }

  const Layout& layout_;
  const Pair block_;
};

}  // namespace

const Backend& CsrBackend() {
  static const CompressedBackend backend(kCsr);
  return backend;
}

const Backend& CscBackend() {
  static const CompressedBackend backend(kCsc);
  return backend;
}

const Backend& BsrBackend() {
  static const CompressedBackend backend(kBsr, {4, 4});
  return backend;
}

std::unique_ptr<const Backend> MakeBsrBackend(Pair block) {
  return std::make_unique<CompressedBackend>(kBsr, block);
}

}  // namespace amc
