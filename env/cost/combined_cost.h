// Several budgets at once as one cost: how much of the scarcest of them a policy uses up.
//
// A budget clamps against one function and one limit. With costs c_i and limits l_i the function is
// the largest ceil(c_i * kFull / l_i), and its limit kFull: it is at most kFull exactly if every
// c_i is at most l_i, whatever the rounding.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "env/cost/cost_model.h"

namespace amc {

// Immutable, thread-safe.
class CombinedCost final : public CostFunction {
 public:
  static constexpr int64_t kFull = int64_t{1} << 40;

  struct Part {
    const CostFunction* cost = nullptr;  // must outlive the whole
    int64_t limit = 1;                   // at least 1
  };
  explicit CombinedCost(std::vector<Part> parts) : parts_(std::move(parts)) {}

  // In parts of kFull; INT64_MAX where a cost is more than 2^22 times its limit.
  int64_t Evaluate(absl::Span<const int64_t> kept) const override;
  bool monotone() const override;  // if all parts are

 private:
  std::vector<Part> parts_;
};

}  // namespace amc
