// How finely a decision prunes.
#pragma once

namespace amc {

// Whole channels, which shrinks the network, or weights within tensors, which become zeros
// (env/prune/sparsity.h; Mao et al., CVPRW 2017). The numbers are those on the wire.
enum class Granularity {
  kChannel = 1,
  kElement = 2,  // single weights
  kVector = 3,   // rows of kernels; runs of inputs of linear layers
  kKernel = 4,   // the kernels of one output and one input
  kPattern = 5,  // kernels, and 4 entries of each 3x3 kernel that stays
  kBlock = 6,    // blocks of the outputs x features matrix
  kNM = 7,       // N of every M neighbouring inputs
};

}  // namespace amc
