// The backend "xnnpack": Google's library, whose sparse kernels run 1x1 convolutions
// (xnnpack_product.h). Exact.
//
// XNNPACK takes dense weights and packs what is not zero when an operator is made:
//
// A file is a safetensors file with the metadata
//   format "xnnpack"
// and the tensor
//   weight  F32 [outputs, channels]
// which is what xnn_create_convolution2d_nchw_f32 and xnn_define_convolution_2d take as `kernel`.
//
// Costs are those of the packed weights: a float, and an increment of the input's address as made
// and as scaled to the image (32 bits each), for every value that is not zero, and a bias and a
// count for every output. (On ARM, XNNPACK packs two or four outputs together where their zeros
// agree.) It runs on real hardware: there are no cycles, and sparse_kernels measures.
#pragma once

#include "env/backend/backend.h"

namespace amc {

const Backend& XnnpackBackend();

}  // namespace amc
