#include "env/prune/sparse_mask.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kKernelEntries = 9;  // of pattern decisions

absl::Status CheckValues(const LayerWeights& layer) {
  const int64_t want = layer.outputs * layer.features();
  if (static_cast<int64_t>(layer.values.size()) != want) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer.name, ": ", layer.values.size(),
                                                   " weights, its shape has ", want));
  }
  for (size_t i = 0; i < layer.values.size(); ++i) {
    if (!std::isfinite(layer.values[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("layer ", layer.name, ": weight ", i, " is ", layer.values[i]));
    }
  }
  return absl::OkStatus();
}

// What a weight adds to its unit's norm; the square root of squares orders nothing anew.
float Magnitude(float weight, int norm) { return norm == 1 ? std::abs(weight) : weight * weight; }

// The unit of every weight: a run of a row's values or, in blocks, of several rows' values.
class UnitIndex {
 public:
  UnitIndex(const LayerWeights& layer, const SparseDecision& decision, const SparseUnits& units,
            const SparsityOptions& options)
      : features_(layer.features()), run_(units.weights) {
    if (decision.granularity != Granularity::kBlock) return;
    rows_ = options.block[0];
    run_ = options.block[1];
  }
  size_t operator()(size_t weight) const {
    const auto i = static_cast<int64_t>(weight);
    const int64_t row = i / features_, column = i % features_;
    return static_cast<size_t>(row / rows_ * (features_ / run_) + column / run_);
  }

 private:
  int64_t features_, run_, rows_ = 1;
};

// Flags of the `kept` units of the largest norms.
std::vector<uint8_t> Largest(const std::vector<float>& norms, int64_t kept) {
  std::vector<float> sorted = norms;
  std::nth_element(sorted.begin(), sorted.begin() + (kept - 1), sorted.end(), std::greater<>());
  const float least = sorted[static_cast<size_t>(kept - 1)];
  int64_t room =  // for units of exactly that norm
      kept - std::count_if(norms.begin(), norms.end(), [&](float norm) { return norm > least; });
  std::vector<uint8_t> stays(norms.size());
  for (size_t u = 0; u < norms.size(); ++u) {
    stays[u] = norms[u] > least || (norms[u] == least && room-- > 0) ? 1 : 0;
  }
  return stays;
}

SparseMask SelectUnits(const LayerWeights& layer, const SparseDecision& decision,
                       const SparseUnits& units, const SparsityOptions& options) {
  const UnitIndex unit_of(layer, decision, units, options);
  std::vector<float> norms(static_cast<size_t>(units.count), 0);
  for (size_t i = 0; i < layer.values.size(); ++i) {
    norms[unit_of(i)] += Magnitude(layer.values[i], options.norm);
  }
  const std::vector<uint8_t> stays = Largest(norms, units.kept);
  SparseMask mask(layer.values.size());
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = stays[unit_of(i)];
  return mask;
}

SparseMask SelectPatterns(const LayerWeights& layer, const SparseUnits& units,
                          const SparsityOptions& options,
                          absl::Span<const KernelPattern> patterns) {
  std::vector<float> norms;
  std::vector<KernelPattern> chosen;
  for (int64_t k = 0; k < units.count; ++k) {
    const float* const kernel = layer.values.data() + k * kKernelEntries;
    float most = -1;
    KernelPattern best = 0;
    for (const KernelPattern pattern : patterns) {
      float norm = 0;
      for (int64_t i = 0; i < kKernelEntries; ++i) {
        if ((pattern >> i & 1) != 0) norm += Magnitude(kernel[i], options.norm);
      }
      if (norm <= most) continue;
      most = norm;
      best = pattern;
    }
    norms.push_back(most);
    chosen.push_back(best);
  }
  const std::vector<uint8_t> stays = Largest(norms, units.kept);
  SparseMask mask;
  mask.reserve(layer.values.size());
  for (size_t k = 0; k < stays.size(); ++k) {
    for (int64_t i = 0; i < kKernelEntries; ++i) {
      mask.push_back(static_cast<uint8_t>(stays[k] & (chosen[k] >> i & 1)));
    }
  }
  return mask;
}

SparseMask SelectOfEveryM(const LayerWeights& layer, const SparseDecision& decision) {
  const int64_t kernel = layer.conv.kernel[0] * layer.conv.kernel[1];
  const int64_t rows = layer.outputs, n = decision.kept, m = decision.of;
  SparseMask mask(layer.values.size());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t first = 0; first < layer.channels; first += m) {
      for (int64_t k = 0; k < kernel; ++k) {
        const int64_t start = (row * layer.channels + first) * kernel + k;
        const auto magnitude = [&](int64_t j) {
          return std::abs(layer.values[static_cast<size_t>(start + j * kernel)]);
        };
        for (int64_t j = 0; j < m; ++j) {
          int64_t ahead = 0;
          for (int64_t other = 0; other < m; ++other) {
            ahead +=
                magnitude(other) > magnitude(j) || (magnitude(other) == magnitude(j) && other < j);
          }
          mask[static_cast<size_t>(start + j * kernel)] = ahead < n ? 1 : 0;
        }
      }
    }
  }
  return mask;
}

}  // namespace

absl::StatusOr<SparseMask> SelectWeights(const LayerWeights& layer, const SparseDecision& decision,
                                         const SparsityOptions& options,
                                         absl::Span<const KernelPattern> patterns) {
  AMC_ASSIGN_OR_RETURN(const SparseUnits units, CountUnits(layer, decision, options));
  AMC_RETURN_IF_ERROR(CheckValues(layer));
  if (layer.values.empty()) return SparseMask();
  if (decision.granularity == Granularity::kNM) return SelectOfEveryM(layer, decision);
  if (decision.granularity != Granularity::kPattern) {
    return SelectUnits(layer, decision, units, options);
  }
  if (patterns.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer ", layer.name, ": no patterns to choose from"));
  }
  return SelectPatterns(layer, units, options, patterns);
}

LayerWeights ApplyMask(LayerWeights layer, const SparseMask& mask) {
  AMC_CHECK(mask.size() == layer.values.size())
      << "layer " << layer.name << ": a mask of " << mask.size() << " for " << layer.values.size();
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0) layer.values[i] = 0;
  }
  return layer;
}

}  // namespace amc
