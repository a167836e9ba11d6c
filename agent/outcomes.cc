#include "agent/outcomes.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace amc {
namespace {

bool IsPolicyOf(const PolicySpace& space, const Choice& choice) {
  if (choice.size() != space.num_groups()) return false;
  for (size_t g = 0; g < choice.size(); ++g) {
    if (choice[g] < 0 || choice[g] >= space.num_choices(g)) return false;
  }
  return true;
}

}  // namespace

std::optional<Outcome> OutcomeOf(const PolicySpace& space, const Grouping& grouping,
                                 const Episode& episode, std::optional<double> reward) {
  const auto kept = KeptCounts(episode.policy, grouping);
  if (!kept.ok()) return std::nullopt;
  Choice choice = space.IndexOf(*kept);
  if (space.Kept(choice) != *kept) return std::nullopt;
  return Outcome{.choice = std::move(choice),
                 .kind = episode.kind,
                 .images = episode.images,
                 .reward = reward.value_or(0),
                 .infeasible = !reward.has_value()};
}

void SaveOutcomes(const std::vector<Outcome>& outcomes, ByteWriter& writer) {
  writer.U64(outcomes.size());
  for (const Outcome& outcome : outcomes) {
    writer.U64(outcome.choice.size());
    for (const int32_t index : outcome.choice) writer.U32(static_cast<uint32_t>(index));
    writer.U8(static_cast<uint8_t>(outcome.kind));
    writer.I64(outcome.images);
    writer.Double(outcome.reward);
    writer.U8(outcome.infeasible);
    writer.U8(outcome.remembered);
  }
}

absl::StatusOr<std::vector<Outcome>> ReadOutcomes(const PolicySpace& space, ByteReader& reader) {
  std::vector<Outcome> outcomes(reader.Count(27));
  for (Outcome& outcome : outcomes) {
    outcome.choice.resize(reader.Count(4));
    for (int32_t& index : outcome.choice) index = static_cast<int32_t>(reader.U32());
    outcome.kind = static_cast<EpisodeKind>(reader.U8());
    outcome.images = reader.I64();
    outcome.reward = reader.Double();
    outcome.infeasible = reader.U8() != 0;
    outcome.remembered = reader.U8() != 0;
    if (!IsPolicyOf(space, outcome.choice)) {
      return absl::InvalidArgumentError(
          absl::StrCat("outcomes: a policy of ", outcome.choice.size(), " groups is not one of ",
                       space.num_groups(), " on the lattice"));
    }
  }
  return outcomes;
}

}  // namespace amc
