#include "env/backend/csr_kernel_loops.h"

namespace amc {

const CsrKernel kCsrKernel = MakeCsrKernel<4, 12>();

}  // namespace amc
