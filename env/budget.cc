#include "env/budget.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/rng.h"

namespace amc {
namespace {

// Lattices of up to so many policies are searched exhaustively for their minimum.
constexpr int64_t kExhaustivePolicies = 4096;
constexpr int kRandomStarts = 16;

// Searches the policy of least cost when the cost is not monotone.
class MinimumSearch {
 public:
  MinimumSearch(const CostFunction& cost, const Lattice& lattice, absl::Span<const int32_t> order)
      : cost_(cost), lattice_(lattice), order_(order), best_(lattice.Minimum()) {
    best_cost_ = cost.Evaluate(best_);
  }

  void Run() {
    int64_t policies = 1;
    for (const int32_t group : order_) {
      policies *= static_cast<int64_t>(lattice_.choices(group).size());
      if (policies > kExhaustivePolicies) break;
    }
    if (policies <= kExhaustivePolicies) {
      std::vector<int64_t> kept = lattice_.Maximum();
      Enumerate(0, kept);
      return;
    }
    Descend(lattice_.Minimum());
    Descend(lattice_.Maximum());
    Rng rng(0);
    for (int start = 0; start < kRandomStarts; ++start) {
      std::vector<int64_t> kept = lattice_.Maximum();
      for (const int32_t group : order_) {
        const auto choices = lattice_.choices(group);
        kept[group] = choices[rng.Below(choices.size())];
      }
      Descend(std::move(kept));
    }
  }

  const std::vector<int64_t>& best() const { return best_; }
  int64_t best_cost() const { return best_cost_; }

 private:
  void Offer(const std::vector<int64_t>& kept, int64_t cost) {
    if (cost >= best_cost_) return;
    best_cost_ = cost;
    best_ = kept;
  }

  void Enumerate(size_t step, std::vector<int64_t>& kept) {
    if (step == order_.size()) return Offer(kept, cost_.Evaluate(kept));
    for (const int64_t choice : lattice_.choices(order_[step])) {
      kept[order_[step]] = choice;
      Enumerate(step + 1, kept);
    }
  }

  // Coordinate descent: every group in turn takes its cheapest count, until none improves.
  void Descend(std::vector<int64_t> kept) {
    int64_t cost = cost_.Evaluate(kept);
    for (bool improved = true; improved;) {
      improved = false;
      for (const int32_t group : order_) {
        int64_t cheapest = kept[group];
        for (const int64_t choice : lattice_.choices(group)) {
          kept[group] = choice;
          const int64_t candidate = cost_.Evaluate(kept);
          if (candidate < cost) {
            cost = candidate;
            cheapest = choice;
            improved = true;
          }
        }
        kept[group] = cheapest;
      }
    }
    Offer(kept, cost);
  }

  const CostFunction& cost_;
  const Lattice& lattice_;
  const absl::Span<const int32_t> order_;
  std::vector<int64_t> best_;
  int64_t best_cost_ = 0;
};

}  // namespace

absl::StatusOr<Budget> Budget::Create(const CostFunction& cost, const Lattice& lattice,
                                      absl::Span<const int32_t> order, int64_t limit, bool land) {
  Budget budget;
  budget.cost_ = &cost;
  budget.lattice_ = &lattice;
  budget.order_.assign(order.begin(), order.end());
  budget.limit_ = limit;
  budget.land_ = land;
  budget.minimum_ = lattice.Minimum();
  budget.whole_ = lattice.Maximum();
  size_t open = 0;  // groups that have a choice: the order must list them all
  for (size_t g = 0; g < lattice.num_groups(); ++g) open += lattice.choices(g).size() > 1;
  for (const int32_t group : order) open -= lattice.choices(group).size() > 1;
  AMC_CHECK(open == 0) << "the deciding order does not list each group with a choice once";

  MinimumSearch search(cost, lattice, order);
  if (!cost.monotone()) search.Run();
  budget.witness_ = search.best();
  budget.minimum_cost_ = search.best_cost();
  if (budget.minimum_cost_ > limit) {
    const int64_t original = cost.Evaluate(budget.whole_);
    const double scale = original > 0 ? 1.0 / static_cast<double>(original) : 0;
    return absl::OutOfRangeError(
        absl::StrFormat("a budget of %d (%.4f of the original's %d) is out of reach: the smallest "
                        "cost %s is %d (%.4f)",
                        limit, limit * scale, original, cost.monotone() ? "reachable" : "found",
                        budget.minimum_cost_, budget.minimum_cost_ * scale));
  }
  return budget;
}

int64_t Budget::Clamp(size_t step, int64_t wanted, std::vector<int64_t>& kept) const {
  return cost_->monotone() ? ClampMonotone(step, wanted, kept) : ClampByWitness(step, wanted, kept);
}

void Budget::Complete(size_t step, absl::Span<const int64_t> completion,
                      std::vector<int64_t>& kept) const {
  for (size_t s = step + 1; s < order_.size(); ++s) kept[order_[s]] = completion[order_[s]];
}

int64_t Budget::ClampMonotone(size_t step, int64_t wanted, std::vector<int64_t>& kept) const {
  const int32_t group = order_[step];
  const absl::Span<const int64_t> choices = lattice_->choices(group);
  const auto cost_with = [&](int64_t count) {
    kept[group] = count;
    return cost_->Evaluate(kept);
  };
  int64_t executed = wanted;
  if (land_) {
    Complete(step, whole_, kept);
    if (cost_with(executed) < limit_) {
      const auto enough = std::partition_point(choices.begin(), choices.end(), [&](int64_t count) {
        return count <= wanted || cost_with(count) < limit_;
      });
      executed = enough == choices.end() ? choices.back() : *enough;
    }
  }
  Complete(step, minimum_, kept);
  if (cost_with(executed) > limit_) {
    const auto too_many = std::partition_point(choices.begin(), choices.end(), [&](int64_t count) {
      return count < executed && cost_with(count) <= limit_;
    });
    AMC_CHECK(too_many != choices.begin())
        << "step " << step << ": the earlier steps left the budget of " << limit_;
    executed = *(too_many - 1);
  }
  return executed;
}

int64_t Budget::ClampByWitness(size_t step, int64_t wanted, std::vector<int64_t>& kept) const {
  const int32_t group = order_[step];
  const auto cost_with = [&](int64_t count, absl::Span<const int64_t> completion) {
    Complete(step, completion, kept);
    kept[group] = count;
    return cost_->Evaluate(kept);
  };
  // Among the counts that fit, the nearest to `wanted` (the smaller of two as near) from which the
  // budget can be landed on; where none can, the one that comes nearest to it.
  struct Candidate {
    int64_t count, shortfall, distance;
  };
  std::optional<Candidate> best;
  for (const int64_t count : lattice_->choices(group)) {
    if (cost_with(count, witness_) > limit_ && cost_with(count, minimum_) > limit_) continue;
    Candidate candidate{count, 0, std::abs(count - wanted)};
    if (land_) candidate.shortfall = std::max<int64_t>(0, limit_ - cost_with(count, whole_));
    if (!best || candidate.shortfall < best->shortfall ||
        (candidate.shortfall == best->shortfall && candidate.distance < best->distance)) {
      best = candidate;
    }
  }
  AMC_CHECK(best.has_value()) << "step " << step << ": the earlier steps left the budget of "
                              << limit_;
  return best->count;
}

}  // namespace amc
