#include "env/backend/csr_kernel.h"

namespace amc {

const CsrKernel kCsrKernelAvx2 = MakeCsrKernel<8, 12>();

}  // namespace amc
