#include "base/rng.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"

namespace amc {
namespace {

uint64_t SplitMix(uint64_t& x) {
  x += 0x9e3779b97f4a7c15;
  uint64_t z = x;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

Rng::Rng(uint64_t seed, uint64_t stream) {
  uint64_t mixed_stream = stream;
  uint64_t x = seed ^ SplitMix(mixed_stream);
  for (uint64_t& word : state_) word = SplitMix(x);
}

uint64_t Rng::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

double Rng::Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

double Rng::Uniform(double low, double high) { return low + (high - low) * Uniform(); }

uint64_t Rng::Below(uint64_t n) {
  // Lemire 2019: the high word of a 128-bit product, redrawn in the biased sliver.
  absl::uint128 product = absl::uint128(Next()) * n;
  if (absl::Uint128Low64(product) < n) {
    const uint64_t threshold = -n % n;
    while (absl::Uint128Low64(product) < threshold) product = absl::uint128(Next()) * n;
  }
  return absl::Uint128High64(product);
}

double Rng::Normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * Uniform());
}

double Rng::TruncatedNormal(double mean, double deviation, double low, double high) {
  for (int draw = 0; draw < 1000; ++draw) {
    const double x = mean + deviation * Normal();
    if (x >= low && x <= high) return x;
  }
  return Uniform(low, high);
}

std::vector<int64_t> Rng::Permutation(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[Below(i)]);
  return order;
}

std::string Rng::SaveState() const {
  std::string bytes(sizeof(state_), '\0');
  std::memcpy(bytes.data(), state_.data(), sizeof(state_));
  return bytes;
}

absl::Status Rng::RestoreState(absl::string_view state) {
  if (state.size() != sizeof(state_)) {
    return absl::InvalidArgumentError(absl::StrCat("random generator state has ", state.size(),
                                                   " bytes, expected ", sizeof(state_)));
  }
  std::memcpy(state_.data(), state.data(), sizeof(state_));
  return absl::OkStatus();
}

}  // namespace amc
