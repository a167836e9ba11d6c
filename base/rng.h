// A seeded random generator with the same stream on every machine and a state that can be stored.
//
// xoshiro256** (Blackman and Vigna 2018) seeded by splitmix64; the distributions are ours because
// those of the standard library differ between implementations. Streams of different purposes come
// from different `stream` numbers of the same seed.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace amc {

// Thread-compatible.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0);

  uint64_t Next();   // 64 uniform bits
  double Uniform();  // [0, 1), 53 bits
  double Uniform(double low, double high);
  uint64_t Below(uint64_t n);  // uniform in [0, n), unbiased; n > 0
  double Normal();             // standard normal (Box-Muller, one of the pair)
  // Normal around `mean`, redrawn until it falls into [low, high]; requires low < high. Where the
  // interval is far out in a tail, falls back to uniform after 1,000 draws.
  double TruncatedNormal(double mean, double deviation, double low, double high);
  // A random order of 0..n-1 (Fisher-Yates).
  std::vector<int64_t> Permutation(int64_t n);

  // 32 bytes that RestoreState takes back; InvalidArgument on any other length.
  std::string SaveState() const;
  absl::Status RestoreState(absl::string_view state);

 private:
  std::array<uint64_t, 4> state_;
};

}  // namespace amc
