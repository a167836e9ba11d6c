#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "env/backend/csr.h"
#include "env/backend/csr_kernel.h"

namespace amc {
namespace {

constexpr size_t kCacheLine = 64;  // bytes
// How often a row of inputs is read on average where copying it pays.
constexpr int64_t kReadsThatPay = 4;
// Floats of a block's inputs that leave room in a first-level cache of 48 KiB, and in a
// second-level one of 2 MiB.
constexpr int64_t kFirstLevel = 9 << 10, kSecondLevel = 256 << 10;

const CsrKernel& ChooseKernel() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return kCsrKernelAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kCsrKernelAvx2;
#endif
  return kCsrKernel;
}

// The most registers a block of vectors may have.
int64_t MostRegisters(const CsrKernel& kernel, int64_t columns) {
  const int64_t first = kFirstLevel / (columns * kernel.lanes);
  const int64_t second = kSecondLevel / (columns * kernel.lanes);
  return std::clamp<int64_t>(first >= 3 ? first : second, 1, kernel.registers);
}

// Calls `multiply(first, width)` for blocks that cover the vectors. The last one begins so that it
// ends with them, and makes a few sums again.
template <typename MultiplyBlock>
void ForEachBlock(const CsrKernel& kernel, int64_t vectors, int64_t registers,
                  MultiplyBlock multiply) {
  for (int64_t v = 0; v < vectors;) {
    int64_t width = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(vectors)));
    if (vectors >= kernel.lanes) {
      const int64_t left = (vectors - v + kernel.lanes - 1) / kernel.lanes;
      width = kernel.lanes * std::min({left, vectors / kernel.lanes, registers});
    }
    const int64_t first = std::min(v, vectors - width);
    multiply(first, width);
    v = first + width;
  }
}

// Floats from the beginning of a cache line on.
class AlignedFloats {
 public:
  explicit AlignedFloats(int64_t size)
      : floats_(static_cast<size_t>(size) + kCacheLine / sizeof(float)) {
    const auto at = reinterpret_cast<uintptr_t>(floats_.data());
    first_ = floats_.data() + (kCacheLine - at % kCacheLine) % kCacheLine / sizeof(float);
  }
  float* data() const { return first_; }

 private:
  std::vector<float> floats_;
  float* first_;
};

}  // namespace

// Where rows of inputs are read often, a block's inputs are first copied together: unaligned rows
// take two cache lines for one, and rows that are a multiple of 4 KiB apart push each other out of
// the cache.
void Multiply(const CsrMatrix& matrix, absl::Span<const float> inputs, int64_t vectors,
              absl::Span<float> out) {
  static const CsrKernel& kernel = ChooseKernel();
  const CsrView view{matrix.rows, matrix.crow.data(), matrix.col.data(), matrix.values.data()};
  const bool pack = vectors > 1 && matrix.entries() > kReadsThatPay * matrix.columns;
  const int64_t registers = pack ? MostRegisters(kernel, matrix.columns) : kernel.registers;
  AlignedFloats packed(pack ? matrix.columns * std::min(registers * kernel.lanes, vectors)
                            : int64_t{0});
  ForEachBlock(kernel, vectors, registers, [&](int64_t first, int64_t width) {
    const float* from = inputs.data() + first;
    int64_t stride = vectors;
    if (pack) {
      for (int64_t c = 0; c < matrix.columns; ++c) {
        std::copy_n(from + c * vectors, width, packed.data() + c * width);
      }
      from = packed.data();
      stride = width;
    }
    kernel.multiply(view, from, stride, out.data() + first, vectors, width);
  });
}

}  // namespace amc
