#include "env/prune/criterion.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/prune/pruner.h"

namespace amc {
namespace {

struct CriterionEntry {
  Criterion criterion;
  absl::string_view name;
};
constexpr CriterionEntry kCriteria[] = {{Criterion::kL1, "l1"},
                                        {Criterion::kL2, "l2"},
                                        {Criterion::kActivationEnergy, "energy"},
                                        {Criterion::kGreedy, "greedy"}};

struct ReconstructionEntry {
  Reconstruction reconstruction;
  absl::string_view name;
};
constexpr ReconstructionEntry kReconstructions[] = {{Reconstruction::kNone, "none"},
                                                    {Reconstruction::kFast, "fast"},
                                                    {Reconstruction::kSampled, "sampled"},
                                                    {Reconstruction::kStrong, "strong"}};

}  // namespace

absl::StatusOr<Criterion> ParseCriterion(absl::string_view name) {
  for (const CriterionEntry& entry : kCriteria) {
    if (entry.name == name) return entry.criterion;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("criterion ", name, ": not one of l1, l2, energy, greedy"));
}

absl::string_view CriterionName(Criterion criterion) {
  for (const CriterionEntry& entry : kCriteria) {
    if (entry.criterion == criterion) return entry.name;
  }
  return "unknown";
}

absl::StatusOr<Reconstruction> ParseReconstruction(absl::string_view name) {
  for (const ReconstructionEntry& entry : kReconstructions) {
    if (entry.name == name) return entry.reconstruction;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("reconstruction ", name, ": not one of none, fast, sampled, strong"));
}

absl::string_view ReconstructionName(Reconstruction reconstruction) {
  for (const ReconstructionEntry& entry : kReconstructions) {
    if (entry.reconstruction == reconstruction) return entry.name;
  }
  return "unknown";
}

absl::StatusOr<std::vector<double>> WeightNorms(const Graph& graph, const Grouping& grouping,
                                                size_t group, int order) {
  const PruneGroup& pruned = grouping.groups[group];
  std::vector<double> squares(static_cast<size_t>(pruned.channels), 0);
  for (const GroupAxis& made : pruned.axes) {
    if (made.role != AxisRole::kOutput) continue;
    const ChannelAxis* axis = grouping.FindAxis(made.tensor, made.dim);
    if (axis == nullptr) continue;
    AMC_ASSIGN_OR_RETURN(const std::vector<float> weight, Values<float>(graph, made.tensor));
    const auto slots = static_cast<int64_t>(axis->slots.size());
    // Outputs lie along dimension 0 or, in a features x outputs matrix, along dimension 1.
    const int64_t slice = static_cast<int64_t>(weight.size()) / slots;
    const int64_t step = made.dim == 0 ? 1 : slots;
    const int64_t start = made.dim == 0 ? slice : 1;
    for (int64_t s = 0; s < slots; ++s) {
      if (axis->slots[s].group != static_cast<int32_t>(group)) continue;
      double norm = 0;
      for (int64_t i = 0; i < slice; ++i) {
        const double w = weight[s * start + i * step];
        norm += order == 1 ? std::abs(w) : w * w;
      }
      squares[axis->slots[s].index] += order == 1 ? norm * norm : norm;
    }
  }
  for (double& score : squares) score = std::sqrt(score);
  return squares;
}

std::vector<int32_t> SelectChannels(const PruneGroup& group, absl::Span<const double> scores,
                                    int64_t kept) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  std::vector<int64_t> room(static_cast<size_t>(group.cells), kept / group.cells);
  std::vector<int32_t> chosen;
  for (const int32_t channel : order) {
    const size_t cell = group.cells > 1 ? group.cell_of_channel[channel] : 0;
    if (room[cell]-- > 0) chosen.push_back(channel);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

absl::Status CheckKept(const Grouping& grouping, absl::Span<const int64_t> kept) {
  if (kept.size() != grouping.groups.size()) {
    return absl::InvalidArgumentError(absl::StrCat("policy: ", kept.size(), " kept counts for ",
                                                   grouping.groups.size(), " groups"));
  }
  for (size_t g = 0; g < kept.size(); ++g) {
    const PruneGroup& group = grouping.groups[g];
    if (kept[g] < 1 || kept[g] > group.channels) {
      return absl::InvalidArgumentError(
          absl::StrCat("group ", group.name, ": ", kept[g], " channels kept of ", group.channels));
    }
    if (kept[g] % group.cells != 0) {
      return absl::InvalidArgumentError(absl::StrCat("group ", group.name, ": ", kept[g],
                                                     " channels kept, not a multiple of its ",
                                                     group.cells, " cells"));
    }
  }
  return absl::OkStatus();
}

}  // namespace amc
