#include "env/cost/extents.h"

namespace amc {

Extents::Extents() { Constant(1); }

Extents::Extents(const Grouping& grouping) : Extents() {
  for (const PruneGroup& group : grouping.groups) channels_.push_back(group.channels);
}

Extents::Id Extents::Of(const ChannelAxis& axis) {
  int64_t whole = 0;
  Weights slots;
  for (const ChannelRef& slot : axis.slots) {
    ++(slot.group == ChannelRef::kWhole ? whole : slots[slot.group]);
  }
  for (auto& [group, count] : slots) count /= channels_[static_cast<size_t>(group)];
  return Intern(whole, slots);
}

Extents::Id Extents::Constant(int64_t length) { return Intern(length, {}); }

Extents::Id Extents::Intern(int64_t constant, const Weights& weights) {
  const auto [found, is_new] =
      interned_.try_emplace({constant, weights}, static_cast<Id>(extents_.size()));
  if (is_new) {
    const auto begin = static_cast<int32_t>(entries_.size());
    for (const auto& [group, weight] : weights) entries_.push_back({group, weight});
    extents_.push_back({constant, begin, begin + static_cast<int32_t>(weights.size())});
  }
  return found->second;
}

int64_t Extents::Length(Id id, absl::Span<const int64_t> kept) const {
  const Extent& extent = extents_[static_cast<size_t>(id)];
  int64_t length = extent.constant;
  for (int32_t e = extent.begin; e < extent.end; ++e) {
    length += entries_[e].weight * kept[entries_[e].group];
  }
  return length;
}

int64_t Extents::Weight(Id id, int32_t group) const {
  const Extent& extent = extents_[static_cast<size_t>(id)];
  for (int32_t e = extent.begin; e < extent.end; ++e) {
    if (entries_[e].group == group) return entries_[e].weight;
  }
  return 0;
}

}  // namespace amc
