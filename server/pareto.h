// From one history, what quality can be had at which cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "amc/v1/job.pb.h"
#include "server/model_cache.h"
#include "storage/store.h"

namespace amc {

struct QualityAndCost {
  double quality = 0;  // larger is better
  int64_t cost = 0;
};

// Indices of the points of which no other is both at least as good and at most as dear, cheapest
// first; of equal points the first.
std::vector<size_t> ParetoFront(absl::Span<const QualityAndCost> points);

// Of a job's measured candidates: screenings and probes were measured otherwise. Costs are those of
// their policies, in any resource. Errors as JobService.GetPareto.
absl::StatusOr<v1::GetParetoResponse> GetPareto(const v1::GetParetoRequest& request, Store& store,
                                                ModelCache& models);

}  // namespace amc
