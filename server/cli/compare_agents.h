// Which agents `amc compare` runs: NAME or NAME:EVALUATIONS, separated by commas.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

struct ComparedAgent {
  std::string label;  // as it was written: "random:400"
  std::string name;
  int64_t evaluations = 0;  // what a search of it may cost
  int64_t seeds = 1;        // 0, 1, ...: one where no seed changes anything
};

// Whether the agent's search depends on its seed.
bool IsStochastic(absl::string_view agent);

// In the order of the text. `evaluations` is for those that name none, `seeds` for those that
// depend on it. UsageError for no agent, an unknown one, a number that is none and for two that are
// the same.
absl::StatusOr<std::vector<ComparedAgent>> ParseComparedAgents(const std::string& text,
                                                               int64_t evaluations, int64_t seeds);

}  // namespace amc
