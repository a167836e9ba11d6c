#include "env/backend/csr_kernel.h"

namespace amc {

const CsrKernel kCsrKernel = MakeCsrKernel<4, 12>();

}  // namespace amc
