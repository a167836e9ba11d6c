#include "env/cost/policy.h"

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace amc {

absl::StatusOr<std::vector<int64_t>> KeptCounts(const Policy& policy, const Grouping& grouping) {
  absl::flat_hash_map<std::string, size_t> index_of;
  std::vector<int64_t> kept(grouping.groups.size());
  for (size_t g = 0; g < kept.size(); ++g) {
    index_of.emplace(grouping.groups[g].name, g);
    kept[g] = grouping.groups[g].channels;
  }
  std::vector<bool> decided(kept.size(), false);
  for (const Decision& decision : policy.decisions) {
    const auto found = index_of.find(decision.target);
    if (found == index_of.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("group ", decision.target, ": no such group among ", kept.size()));
    }
    const PruneGroup& group = grouping.groups[found->second];
    if (decision.granularity != group.granularity) {
      return absl::InvalidArgumentError(absl::StrCat(
          "group ", group.name, ": granularity ", static_cast<int>(decision.granularity), ", want ",
          static_cast<int>(group.granularity)));
    }
    if (decided[found->second]) {
      return absl::InvalidArgumentError(absl::StrCat("group ", group.name, ": listed twice"));
    }
    if (decision.kept < 1 || decision.kept > group.channels) {
      return absl::InvalidArgumentError(absl::StrCat("group ", group.name, ": ", decision.kept,
                                                     " channels kept of ", group.channels));
    }
    if (decision.kept % group.cells != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("group ", group.name, ": ", decision.kept, " channels kept of ",
                       group.channels, " do not divide into its ", group.cells, " cells"));
    }
    decided[found->second] = true;
    kept[found->second] = decision.kept;
  }
  return kept;
}

Policy MakePolicy(const Grouping& grouping, absl::Span<const int64_t> kept) {
  AMC_CHECK(kept.size() == grouping.groups.size())
      << kept.size() << " counts for " << grouping.groups.size() << " groups";
  Policy policy;
  policy.decisions.reserve(kept.size());
  for (size_t g = 0; g < kept.size(); ++g) {
    policy.decisions.push_back({.target = grouping.groups[g].name,
                                .granularity = grouping.groups[g].granularity,
                                .kept = kept[g]});
  }
  return policy;
}

}  // namespace amc
