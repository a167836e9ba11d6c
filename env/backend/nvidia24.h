// The backend "nvidia24": 2:4 sparsity as NVIDIA's sparse tensor cores take it (Mishra et al. 2021,
// "Accelerating Sparse Deep Neural Networks"). Of every 4 neighbouring inputs of an output at most
// 2 weights are kept.
//
// Neighbours are what the operator sums over, as TensorRT asks for:
//   Conv    4 consecutive input channels at one kernel position (columns are channels last); input
//           channels are a multiple of 4
//   Gemm    4 consecutive inputs: with transB along the stored weight's columns
//   MatMul  4 consecutive inputs: along the stored weight's rows (also of a Gemm without transB)
//
// The file is that of nvidia24_file.h. Costs are of one image on an A100 by the roofline of
// nvidia24_roofline.h, a bound from below; what does not fit runs dense, grouped convolutions too.
// They count values, kept zeros included, and bytes of values, plain metadata and scales. Runs are
// exact in the format's values, summed in float32.
#pragma once

#include <memory>

#include "env/backend/backend.h"
#include "env/backend/nvidia24_file.h"

namespace amc {

// Weights rounded to fp16; those that overflow are refused.
const Backend& Nvidia24Backend();

// The same with weights of another type: bf16, or int8 with one symmetric scale for each output.
// Each reads the files of all.
std::unique_ptr<const Backend> MakeNvidia24Backend(Nvidia24Type type);

}  // namespace amc
