// Lengths of axes as functions of kept counts: constant + sum of weight * kept[group], because an
// axis is a concatenation of group segments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "env/graph/groups.h"

namespace amc {

// Thread-compatible while axes are added, thread-safe afterwards.
class Extents {
 public:
  using Id = int32_t;
  static constexpr Id kOne = 0;  // the constant 1

  Extents();
  explicit Extents(const Grouping& grouping);

  // The same id for axes of equal length under every policy.
  Id Of(const ChannelAxis& axis);
  Id Constant(int64_t length);

  // `kept` has one count per group.
  int64_t Length(Id id, absl::Span<const int64_t> kept) const;

  // By how much it grows with each channel that `group` keeps.
  int64_t Weight(Id id, int32_t group) const;

  size_t size() const { return extents_.size(); }                   // ids are 0 .. size() - 1
  absl::Span<const int64_t> channels() const { return channels_; }  // the groups' original counts

 private:
  using Weights = std::map<int32_t, int64_t>;  // group to slots per channel
  struct Extent {
    int64_t constant = 0;
    int32_t begin = 0, end = 0;  // in entries_
  };
  struct Entry {
    int32_t group = 0;
    int64_t weight = 0;
  };
  Id Intern(int64_t constant, const Weights& weights);

  std::vector<int64_t> channels_;
  std::vector<Extent> extents_;
  std::vector<Entry> entries_;
  std::map<std::pair<int64_t, Weights>, Id> interned_;
};

}  // namespace amc
