#include "env/cost/combined_cost.h"

#include <algorithm>
#include <limits>

#include "absl/numeric/int128.h"

namespace amc {

int64_t CombinedCost::Evaluate(absl::Span<const int64_t> kept) const {
  absl::int128 most = 0;
  for (const Part& part : parts_) {
    const absl::int128 used = absl::int128{part.cost->Evaluate(kept)} * kFull;
    most = std::max(most, (used + part.limit - 1) / part.limit);
  }
  return static_cast<int64_t>(std::min<absl::int128>(most, std::numeric_limits<int64_t>::max()));
}

bool CombinedCost::monotone() const {
  return std::all_of(parts_.begin(), parts_.end(),
                     [](const Part& part) { return part.cost->monotone(); });
}

}  // namespace amc
