// The kept counts that a search may choose from, group by group.
//
// A group of C channels in `cells` cells may keep the multiples of lcm(channel_multiple, cells)
// that are at least max(1, ceil(min_preserve_ratio * C)), and always its original count, whether or
// not that is such a multiple. Where no multiple lies between the floor and C, it stays whole.
// A group of granularity N:M keeps N of M, or all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/graph/groups.h"

namespace amc {

struct LatticeOptions {
  int64_t channel_multiple = 1;          // at least 1: what the target's vector units like
  double min_preserve_ratio = 0.2;       // in [0, 1]
  std::vector<std::string> frozen = {};  // names of groups that must stay whole
  bool keep_residual = false;            // so must all groups on residual paths
};

// Immutable, thread-safe.
class Lattice {
 public:
  // InvalidArgument if an option is out of range or `frozen` names a group that is not there.
  static absl::StatusOr<Lattice> Create(const Grouping& grouping, LatticeOptions options);

  size_t num_groups() const { return choices_.size(); }
  // What `group` may keep, ascending; never empty, the last is the original count.
  absl::Span<const int64_t> choices(size_t group) const { return choices_[group]; }
  bool Contains(size_t group, int64_t kept) const;

  // The choice nearest to `ratio` of the original count (the larger of two as near); the largest
  // choice not above it, or the smallest there is; the smallest choice not below it, or the
  // largest.
  int64_t Round(size_t group, double ratio) const;
  int64_t Floor(size_t group, double ratio) const;
  int64_t Ceil(size_t group, double ratio) const;

  // The smallest and the largest (original) choice of every group.
  std::vector<int64_t> Minimum() const;
  std::vector<int64_t> Maximum() const;

 private:
  std::vector<std::vector<int64_t>> choices_;
};

}  // namespace amc
