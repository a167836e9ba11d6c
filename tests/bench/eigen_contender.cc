// Eigen's sparse matrix times a dense one. Compiled for the machine that builds it, as Eigen takes
// the instructions that the compiler may use, where our kernels look what there is.
#include <Eigen/SparseCore>
#include <memory>
#include <utility>

#include "tests/bench/sparse_contenders.h"

namespace amc::bench {
namespace {

using Dense = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Sparse = Eigen::SparseMatrix<float, Eigen::RowMajor, int32_t>;

struct State {
  std::shared_ptr<const CsrMatrix> csr;
  std::vector<int32_t> crow;  // as wide as the columns, as Eigen wants it
  Eigen::Map<const Sparse> matrix;
  Dense inputs, out;
  // One vector has kernels of its own.
  Eigen::VectorXf vector, sums;

  State(std::shared_ptr<const CsrMatrix> from, const std::vector<float>& values, int64_t vectors)
      : csr(std::move(from)),
        crow(csr->crow.begin(), csr->crow.end()),
        matrix(csr->rows, csr->columns, csr->entries(), crow.data(), csr->col.data(),
               csr->values.data()),
        inputs(Eigen::Map<const Dense>(values.data(), csr->columns, vectors)),
        out(csr->rows, vectors),
        vector(inputs.col(0)),
        sums(csr->rows) {}
};

}  // namespace

Contender EigenContender(std::shared_ptr<const CsrMatrix> matrix, const std::vector<float>& inputs,
                         int64_t vectors) {
  const auto state = std::make_shared<State>(std::move(matrix), inputs, vectors);
  return {.name = "eigen",
          .run =
              [=] {
                if (vectors == 1) {
                  state->sums.noalias() = state->matrix * state->vector;
                } else {
                  state->out.noalias() = state->matrix * state->inputs;
                }
                return absl::OkStatus();
              },
          .product =
              [=] {
                const float* const data = vectors == 1 ? state->sums.data() : state->out.data();
                return std::vector<float>(data, data + state->out.size());
              }};
}

}  // namespace amc::bench
