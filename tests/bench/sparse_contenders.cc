#include "tests/bench/sparse_contenders.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "env/backend/xnnpack_product.h"
#include "env/exec/torch_api.h"

namespace amc::bench {
namespace {

std::vector<float> Transposed(absl::Span<const float> values, int64_t rows, int64_t columns) {
  std::vector<float> result(values.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) result[c * rows + r] = values[r * columns + c];
  }
  return result;
}

torch::Tensor CopyOf(const std::vector<float>& values, int64_t rows, int64_t columns) {
  return torch::from_blob(const_cast<float*>(values.data()), {rows, columns}, torch::kFloat)
      .clone();
}

}  // namespace

Contender DenseContender(const DenseMatrix& matrix, const std::vector<float>& inputs,
                         int64_t vectors) {
  const torch::Tensor weights = CopyOf(matrix.values, matrix.rows, matrix.columns);
  const torch::Tensor from = CopyOf(inputs, matrix.columns, vectors);
  torch::Tensor out = torch::empty({matrix.rows, vectors});
  return {.name = "dense",
          .run =
              [=]() mutable {
                const torch::NoGradGuard no_grad;
                if (vectors == 1) {
                  torch::Tensor sums = out.view(-1);
                  torch::mv_out(sums, weights, from.view(-1));
                } else {
                  torch::mm_out(out, weights, from);
                }
                return absl::OkStatus();
              },
          .product =
              [=] {
                const float* const data = out.data_ptr<float>();
                return std::vector<float>(data, data + out.numel());
              }};
}

Contender CsrContender(std::shared_ptr<const CsrMatrix> matrix, const std::vector<float>& inputs,
                       int64_t vectors) {
  struct State {
    std::vector<float> inputs, out;
  };
  const auto state = std::make_shared<State>(
      State{inputs, std::vector<float>(static_cast<size_t>(matrix->rows * vectors))});
  return {.name = "csr",
          .run =
              [=] {
                Multiply(*matrix, state->inputs, vectors, absl::MakeSpan(state->out));
                return absl::OkStatus();
              },
          .product = [=] { return state->out; }};
}

absl::StatusOr<Contender> XnnpackContender(const DenseMatrix& matrix,
                                           const std::vector<float>& inputs, int64_t vectors,
                                           bool sparse) {
  AMC_ASSIGN_OR_RETURN(XnnpackProduct created,
                       XnnpackProduct::Create(matrix, vectors,
                                              sparse ? XnnpackProduct::Kernel::kSparse
                                                     : XnnpackProduct::Kernel::kDense));
  const auto product = std::make_shared<XnnpackProduct>(std::move(created));
  const std::vector<float> from = sparse ? inputs : Transposed(inputs, matrix.columns, vectors);
  std::copy(from.begin(), from.end(), product->inputs().begin());
  return Contender{.name = sparse ? "xnnpack" : "xnnpack-dense",
                   .run = [=] { return product->Run(); },
                   .product =
                       [=, rows = matrix.rows] {
                         const absl::Span<const float> out = product->outputs();
                         return sparse ? std::vector<float>(out.begin(), out.end())
                                       : Transposed(out, vectors, rows);
                       }};
}

}  // namespace amc::bench
