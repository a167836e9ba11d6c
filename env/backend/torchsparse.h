// The backend "torchsparse": convolutions on sparse points (sparse_conv.h), with 2-D convolutions
// as the layers that an image network has of them. Exact.
//
// TorchSparse computes outputs only where its inputs have points, so that a layer must keep the
// positions of its input: stride 1, an odd kernel without dilation, padded by its half; one group.
// An image is then a cloud of all its pixels, and a sparser cloud gives the dense convolution's
// outputs at its points. What a pruned layer saves are whole zero rows, columns and offsets of its
// weights; costs count what is left, as sparse_conv.h holds it. It runs on real hardware: there are
// no cycles.
//
// A file is a safetensors file with the metadata
//   format "torchsparse"; kernel_x, kernel_y
// and the tensor
//   kernel  F32 [kernel_y * kernel_x, channels, outputs]
// which is TorchSparse's parameter of that name: kernel positions with x fastest. TorchSparse keeps
// a 1x1 kernel's without the first axis. Columns are in channels-last order: position, channel.
#pragma once

#include "env/backend/backend.h"

namespace amc {

const Backend& TorchSparseBackend();

}  // namespace amc
