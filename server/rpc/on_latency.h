// Which jobs mind latency: what predicts it is then needed, and decides which counts are kept.
#pragma once

#include <algorithm>

#include "amc/v1/job.pb.h"

namespace amc {

inline bool IsOnLatency(const v1::Budget& budget) {
  return budget.resource() == v1::RESOURCE_LATENCY ||
         std::any_of(budget.also().begin(), budget.also().end(), [](const v1::BudgetBound& bound) {
           return bound.resource() == v1::RESOURCE_LATENCY;
         });
}

// Whether its budget is, or its reward.
inline bool IsOnLatency(const v1::JobSpec& spec) {
  return IsOnLatency(spec.budget()) || spec.search().reward() == v1::REWARD_KIND_ERROR_LOG_LATENCY;
}

}  // namespace amc
