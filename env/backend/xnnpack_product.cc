#include "env/backend/xnnpack_product.h"

#include <xnnpack.h>

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr size_t kExtraFloats = XNN_EXTRA_BYTES / sizeof(float);
constexpr float kInfinity = std::numeric_limits<float>::infinity();

absl::Status Check(xnn_status status, absl::string_view what) {
  switch (status) {
    case xnn_status_success:
      return absl::OkStatus();
    case xnn_status_unsupported_hardware:
      return absl::FailedPreconditionError(
          absl::StrCat("XNNPACK does not support this processor: ", what));
    case xnn_status_out_of_memory:
      return absl::ResourceExhaustedError(absl::StrCat("XNNPACK is out of memory: ", what));
    default:
      return absl::InternalError(
          absl::StrCat("XNNPACK fails with status ", static_cast<int>(status), ": ", what));
  }
}

}  // namespace

void XnnpackProduct::Deleter::operator()(xnn_operator* op) const { xnn_delete_operator(op); }

XnnpackProduct::XnnpackProduct(int64_t rows, int64_t columns, int64_t vectors)
    : columns_(columns),
      vectors_(vectors),
      inputs_(static_cast<size_t>(columns * vectors) + kExtraFloats),
      outputs_(static_cast<size_t>(rows * vectors)) {}

absl::StatusOr<XnnpackProduct> XnnpackProduct::Create(const DenseMatrix& matrix, int64_t vectors,
                                                      Kernel kernel) {
  // The sparse kernel's steps between inputs, in bytes, are 32 bits wide.
  constexpr int64_t kMostInputs = std::numeric_limits<int32_t>::max() / 4;
  if (matrix.rows < 1 || matrix.columns < 1 || vectors < 1 ||
      vectors > kMostInputs / matrix.columns || vectors > kMostInputs / matrix.rows ||
      matrix.rows > static_cast<int64_t>(matrix.values.size()) / matrix.columns ||
      matrix.rows * matrix.columns != static_cast<int64_t>(matrix.values.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("a matrix of ", matrix.rows, " x ", matrix.columns, " with ",
                     matrix.values.size(), " values, ", vectors,
                     " vectors: want at least one of each, at most ", kMostInputs, " inputs"));
  }
  AMC_RETURN_IF_ERROR(Check(xnn_initialize(nullptr), "xnn_initialize"));
  const auto rows = static_cast<size_t>(matrix.rows), columns = static_cast<size_t>(matrix.columns);
  const auto batch = static_cast<size_t>(vectors);
  XnnpackProduct result(matrix.rows, matrix.columns, vectors);
  std::vector<float> weights = matrix.values;
  weights.resize(weights.size() + kExtraFloats);
  xnn_operator_t op = nullptr;
  if (kernel == Kernel::kSparse) {
    AMC_RETURN_IF_ERROR(
        Check(xnn_create_convolution2d_nchw_f32(
                  /*input_padding_top=*/0, /*input_padding_right=*/0, /*input_padding_bottom=*/0,
                  /*input_padding_left=*/0, /*kernel_height=*/1, /*kernel_width=*/1,
                  /*subsampling_height=*/1, /*subsampling_width=*/1, /*dilation_height=*/1,
                  /*dilation_width=*/1, /*groups=*/1, columns, rows, columns, rows, weights.data(),
                  /*bias=*/nullptr, -kInfinity, kInfinity, /*flags=*/0, &op),
              "xnn_create_convolution2d_nchw_f32"));
    result.operator_.reset(op);
    AMC_RETURN_IF_ERROR(
        Check(xnn_setup_convolution2d_nchw_f32(op, /*batch_size=*/1, /*input_height=*/1, batch,
                                               result.inputs_.data(), result.outputs_.data(),
                                               /*threadpool=*/nullptr),
              "xnn_setup_convolution2d_nchw_f32"));
  } else {
    AMC_RETURN_IF_ERROR(
        Check(xnn_create_fully_connected_nc_f32(columns, rows, columns, rows, weights.data(),
                                                /*bias=*/nullptr, -kInfinity, kInfinity,
                                                /*flags=*/0, &op),
              "xnn_create_fully_connected_nc_f32"));
    result.operator_.reset(op);
    AMC_RETURN_IF_ERROR(
        Check(xnn_setup_fully_connected_nc_f32(op, batch, result.inputs_.data(),
                                               result.outputs_.data(), /*threadpool=*/nullptr),
              "xnn_setup_fully_connected_nc_f32"));
  }
  return result;
}

absl::Status XnnpackProduct::Run() {
  return Check(xnn_run_operator(operator_.get(), /*threadpool=*/nullptr), "xnn_run_operator");
}

}  // namespace amc
