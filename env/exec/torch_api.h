// The only door to libtorch's headers outside of optimisers: <ATen/core/ivalue.h> has to come first
// for clang in C++20. Slow to compile: include it in .cc files and torch_*.h headers only.
#pragma once

#include <ATen/core/ivalue.h>
//
#include <ATen/Parallel.h>
#include <torch/types.h>
