#include "env/backend/csr_kernel_loops.h"

namespace amc {

const CsrKernel kCsrKernelAvx2 = MakeCsrKernel<8, 12>();

}  // namespace amc
