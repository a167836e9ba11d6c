#include "env/backend/csr_kernel.h"

namespace amc {

const CsrKernel kCsrKernelAvx512 = MakeCsrKernel<16, 8>();

}  // namespace amc
