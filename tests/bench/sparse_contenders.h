// Ways to multiply a layer's pruned weights with its inputs, which sparse_kernels times against one
// another. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "env/backend/csr.h"
#include "env/graph/layer_weights.h"

namespace amc::bench {

struct Contender {
  std::string name = {};
  std::function<absl::Status()> run = {};            // computes the product once
  std::function<std::vector<float>()> product = {};  // the last run's, rows x vectors
};

// `inputs` is columns x vectors, row-major. The layouts are those that each is fastest with.
Contender DenseContender(const DenseMatrix& matrix, const std::vector<float>& inputs,
                         int64_t vectors);  // libtorch, through OpenBLAS
// These two read the same arrays: where a matrix happens to lie decides whether a vector's product
// comes from the cache, and must not decide between them.
Contender CsrContender(std::shared_ptr<const CsrMatrix> matrix, const std::vector<float>& inputs,
                       int64_t vectors);
Contender EigenContender(std::shared_ptr<const CsrMatrix> matrix, const std::vector<float>& inputs,
                         int64_t vectors);
absl::StatusOr<Contender> XnnpackContender(const DenseMatrix& matrix,
                                           const std::vector<float>& inputs, int64_t vectors,
                                           bool sparse);

}  // namespace amc::bench
