// The backend "eie": the accelerator of Han et al. (ISCA 2016), simulated.
//
// Files are those of eie_matrix.h. Weights are shared and rounded, so that Read gives other values
// than Write took; Tolerance is the largest difference of that very layer. A convolution runs as
// its matrix (channels first; of all groups) times every column of im2col, one product for each
// output position, and costs the sum of their cycles (eie_cycles.h).
#pragma once

#include "env/backend/backend.h"

namespace amc {

const Backend& EieBackend();

}  // namespace amc
