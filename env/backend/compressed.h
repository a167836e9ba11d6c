// The backends "csr", "csc" and "bsr": compressed rows, columns and blocks of float32, as SciPy,
// libtorch and Eigen take them. Exact.
//
// A file is a safetensors file with the metadata
//   format "csr", "csc" or "bsr"; rows, columns; of bsr block_rows, block_columns
// and the tensors
//   csr  crow I64 [rows + 1], col I64 [n], values F32 [n]
//   csc  ccol I64 [columns + 1], row I64 [n], values F32 [n]
//   bsr  crow I64 [rows / block_rows + 1], col I64 [n], values F32 [n, block_rows, block_columns]
// where indices ascend within each row (column) and none comes twice. Columns are in channels-first
// order, as ONNX stores a convolution's weights; grouped convolutions are block diagonal.
//
// csr runs on a kernel that is made to be fast (csr.h), the others on plain ones. Costs count
// values, also the zeros of blocks, and bytes with indices of 64 bits; there are no cycles.
#pragma once

#include <memory>

#include "env/backend/backend.h"

namespace amc {

const Backend& CsrBackend();
const Backend& CscBackend();

// Blocks of 4 x 4: channel counts are multiples of 4, four rows can share each load of an input,
// and larger blocks keep more zeros. Layers whose matrix is no multiple of it are refused.
const Backend& BsrBackend();
// The same with blocks of another size. Its files hold theirs: each reads those of the others.
std::unique_ptr<const Backend> MakeBsrBackend(Pair block);

}  // namespace amc
