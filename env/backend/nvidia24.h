// The backend "nvidia24": 2:4 sparsity as NVIDIA's sparse tensor cores take it (Mishra et al. 2021,
// "Accelerating Sparse Deep Neural Networks"). Of every 4 neighbouring inputs of an output at most
// 2 weights are kept.
//
// Neighbours are what the operator sums over, as TensorRT asks for:
//   Conv    4 consecutive input channels at one kernel position: columns are in channels-last
//   order,
//           and input channels are a multiple of 4
//   Gemm    4 consecutive inputs: with transB along the stored weight's columns
//   MatMul  4 consecutive inputs: along the stored weight's rows (also of a Gemm without transB)
//
// A file is a safetensors file with the metadata
//   format "nvidia24"; rows, columns; type "fp16", "bf16" or "int8"; cutlass "yes", or why
//   metadata_cutlass is not there
// and the tensors
//   values            F16, BF16 or I8 [rows, columns / 2]: the kept weights
//   metadata          I16 (of int8: I32) [rows, words]: nvidia24_metadata.h
//   metadata_cutlass  the same words in CUTLASS's order, where rows and columns are multiples of 32
//                     and 64 (of int8: 16 and 128): PyTorch's sparse_semi_structured tensors
//   scales            of int8 alone, F32 [rows]: a weight is its value times its row's scale
//
// The opaque blobs of cuSPARSELt are never written: they hold for one GPU and one version of the
// library, which makes them from the dense weights. Costs count values, kept zeros included, and
// bytes of values, plain metadata and scales; there are no cycles. Runs are exact in the format's
// values, summed in float32.
#pragma once

#include <memory>

#include "env/backend/backend.h"

namespace amc {

enum class Nvidia24Type { kFp16, kBf16, kInt8 };

// Weights rounded to fp16; those that overflow are refused.
const Backend& Nvidia24Backend();

// The same with weights of another type: bf16, or int8 with one symmetric scale for each output.
// Each reads the files of all.
std::unique_ptr<const Backend> MakeNvidia24Backend(Nvidia24Type type);

}  // namespace amc
