// The inner loops of a CSR matrix times a dense one, compiled once for each kind of processor
// (csr_kernel_loops.h, csr_kernel*.cc).
#pragma once

#include <cstdint>

namespace amc {

// Pointers into a CsrMatrix with blocks of 1 x 1.
struct CsrView {
  int64_t rows;
  const int64_t* crow;
  const int32_t* col;
  const float* values;
};

struct CsrKernel {
  int64_t lanes;      // of a register
  int64_t registers;  // for sums
  // Multiplies `width` vectors: a power of two below `lanes`, or a multiple of `lanes` up to lanes
  // * registers. Row c of the inputs begins at inputs + c * input_stride, row r of the results at
  // out + r * out_stride.
  void (*multiply)(const CsrView& matrix, const float* inputs, int64_t input_stride, float* out,
                   int64_t out_stride, int64_t width);
};

extern const CsrKernel kCsrKernel;
#if defined(__x86_64__)
extern const CsrKernel kCsrKernelAvx2, kCsrKernelAvx512;
#endif

}  // namespace amc
