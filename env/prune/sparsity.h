// Which weights of a layer may stay or go together, and how many of them stay.
//
// Beside whole channels (surgery.h) a layer can lose weights inside its tensor: the tensor keeps
// its shape and gets zeros. Mao et al. ("Exploring the granularity of sparsity in convolutional
// neural networks", CVPRW 2017) order the choices from free to regular:
//
//   element   any weight
//   vector    a row 1 x kw of a kernel; of linear layers `vector_length` neighbouring inputs
//   kernel    kh x kw weights of one (output, input) pair; linear layers have none
//   pattern   3x3 kernels, of which those that stay keep 4 entries (sparse_patterns.h)
//   block     block[0] outputs x block[1] features of the matrix in channels-first order, as BSR
//             stores it
//   N:M       N of every M neighbouring inputs: of convolutions at one kernel position, as sparse
//             tensor cores want them
//
// What stays is counted in shares of 1/256, however many units a layer has; N:M counts itself.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/cost/policy.h"
#include "env/graph/layer_weights.h"

namespace amc {

inline constexpr int64_t kShares = 256;

// `kept` of `of` units of one layer stay. N:M: N = kept, M = of (2 to 64). Everything else: of is
// kShares, and ceil(kept * units / kShares) units stay. 1 <= kept <= of; kept = of changes nothing,
// except that pattern leaves kernels with 4 entries.
struct SparseDecision {
  std::string target = {};  // the name of a LayerWeights
  Granularity granularity = Granularity::kElement;
  int64_t kept = kShares;
  int64_t of = kShares;
  friend bool operator==(const SparseDecision&, const SparseDecision&) = default;
};

struct SparsityOptions {
  int norm = 1;               // of units: 1 (sum of magnitudes) or 2; the larger ones stay
  int64_t vector_length = 4;  // inputs of linear layers in one vector
  Pair block = {4, 4};        // outputs, features
  int64_t patterns = 8;       // in the dictionary of a network
};

// InvalidArgument names the option that is out of range.
absl::Status CheckSparsityOptions(const SparsityOptions& options);

// "element", "vector", "kernel", "pattern", "block", "nm"; "channel" too.
absl::string_view GranularityName(Granularity granularity);
absl::StatusOr<Granularity> ParseGranularity(absl::string_view name);

// What stays or goes as one.
struct SparseUnits {
  int64_t count = 0;    // in the layer
  int64_t kept = 0;     // of these
  int64_t weights = 1;  // that a kept unit has
  int64_t kept_weights() const { return kept * weights; }
};

// Looks at the layer's shape alone, not at its values. InvalidArgument for options or a decision
// out of range; FailedPrecondition with the reason where the layer has no such units ("layer conv1:
// 3 input channels are no multiple of 4").
absl::StatusOr<SparseUnits> CountUnits(const LayerWeights& layer, const SparseDecision& decision,
                                       const SparsityOptions& options);

// Whether the decision leaves every weight as it is.
bool IsDense(const SparseDecision& decision);

}  // namespace amc
