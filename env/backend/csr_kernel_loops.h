// The inner loops behind csr_kernel.h.
//
// One call makes a block of neighbouring vectors, as many as registers hold sums for, and walks the
// matrix once: an entry broadcasts its value and multiplies a row of the block's inputs, and sums
// are stored when the matrix's row ends. A plain loop, and Eigen's, loads and stores the sums at
// every entry. A narrow block needs few registers, where one addition would wait for the one
// before: it takes several entries at a time, each with sums of its own.
//
// Each csr_kernel*.cc includes this file under other compile options. Hence all is in an unnamed
// namespace, and calls no inline function of another header: of those the linker keeps one copy,
// perhaps one that is made for a processor that is not there.
#pragma once

#include <cstdint>
#include <utility>

#include "env/backend/csr_kernel.h"

namespace amc {
namespace {  // NOLINT(google-build-namespaces): see above

template <int kLanes>
struct RegisterOf {
  typedef float Type __attribute__((vector_size(4 * kLanes)));
};
template <>
struct RegisterOf<1> {
  using Type = float;
};

// Sums of one row over kCount registers of vectors, in several chains. The packs write every access
// out, so that every sum is a register of its own.
template <int kLanes, int... k>
struct RowSums {
  using Register = typename RegisterOf<kLanes>::Type;
  // As it stands in an array of floats.
  struct [[gnu::packed, gnu::may_alias]] InMemory {
    Register lanes;
  };
  Register sums[sizeof...(k)] = {};

  [[gnu::always_inline]] void AddEntry(float value, const float* inputs) {
    const auto* from = reinterpret_cast<const InMemory*>(inputs);
    ((sums[k] += value * from[k].lanes), ...);
  }
  [[gnu::always_inline]] void Add(const RowSums& other) { ((sums[k] += other.sums[k]), ...); }
  [[gnu::always_inline]] void Store(float* out) const {
    auto* to = reinterpret_cast<InMemory*>(out);
    ((to[k].lanes = sums[k]), ...);
  }
};

template <int kLanes, int... k, int... chain>
[[gnu::always_inline]] inline void MultiplyBlock(const CsrView& matrix, const float* inputs,
                                                 int64_t input_stride, float* out,
                                                 int64_t out_stride,
                                                 std::integer_sequence<int, k...>,
                                                 std::integer_sequence<int, chain...>) {
  constexpr int64_t kChains = sizeof...(chain);
  for (int64_t row = 0; row < matrix.rows; ++row, out += out_stride) {
    RowSums<kLanes, k...> sums;
    int64_t e = matrix.crow[row];
    const int64_t end = matrix.crow[row + 1];
    if (e + kChains <= end) {
      RowSums<kLanes, k...> chains[kChains];
      do {
        (chains[chain].AddEntry(matrix.values[e + chain],
                                inputs + matrix.col[e + chain] * input_stride),
         ...);
        e += kChains;
      } while (e + kChains <= end);
      (sums.Add(chains[chain]), ...);
    }
    for (; e < end; ++e) {
      sums.AddEntry(matrix.values[e], inputs + matrix.col[e] * input_stride);
    }
    sums.Store(out);
  }
}

// Of a block of `count` registers: about as many sums as a processor adds at a time.
constexpr int Chains(int count) { return count > 6 ? 1 : count > 3 ? 2 : count > 1 ? 4 : 8; }

// Blocks of 1 to kCount registers.
template <int kLanes, int kCount>
void MultiplyRegisters(const CsrView& matrix, const float* inputs, int64_t input_stride, float* out,
                       int64_t out_stride, int64_t count) {
  if constexpr (kCount > 1) {
    if (count < kCount) {
      return MultiplyRegisters<kLanes, kCount - 1>(matrix, inputs, input_stride, out, out_stride,
                                                   count);
    }
  }
  MultiplyBlock<kLanes>(matrix, inputs, input_stride, out, out_stride,
                        std::make_integer_sequence<int, kCount>(),
                        std::make_integer_sequence<int, Chains(kCount)>());
}

// Registers of kLanes, or of the power of two below it that is the width.
template <int kLanes, int kRegisters>
void MultiplyWidth(const CsrView& matrix, const float* inputs, int64_t input_stride, float* out,
                   int64_t out_stride, int64_t width) {
  if constexpr (kLanes > 1) {
    if (width < kLanes) {
      return MultiplyWidth<kLanes / 2, 1>(matrix, inputs, input_stride, out, out_stride, width);
    }
  }
  MultiplyRegisters<kLanes, kRegisters>(matrix, inputs, input_stride, out, out_stride,
                                        width / kLanes);
}

template <int kLanes, int kRegisters>
constexpr CsrKernel MakeCsrKernel() {
  return {kLanes, kRegisters, MultiplyWidth<kLanes, kRegisters>};
}

}  // namespace

}  // namespace amc
