#include "env/backend/csr_kernel_loops.h"

namespace amc {

const CsrKernel kCsrKernelAvx512 = MakeCsrKernel<16, 8>();

}  // namespace amc
