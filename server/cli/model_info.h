// What `amc inspect` says about a model: arithmetic on the graph, no torch.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "amc/v1/inspect.pb.h"
#include "env/cost/lattice.h"
#include "env/graph/graph.h"
#include "env/graph/groups.h"

namespace amc {

// `name` and `bytes` are the file's. `policy` may be null; with it, policy and policy_cost are
// filled. Errors as BuildGroups, CostModel::Create, Lattice::Create and KeptCounts.
absl::StatusOr<v1::ModelInfo> DescribeModel(const std::string& name, const std::string& bytes,
                                            const Graph& graph, const LatticeOptions& lattice,
                                            const v1::PolicyFile* policy);

// The same for people. `axes` lists where every group appears, `layers` what every layer costs.
std::string ModelInfoText(const v1::ModelInfo& info, bool axes, bool layers);

}  // namespace amc
