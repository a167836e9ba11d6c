// Budgets against brute force: on small lattices every policy can be tried.
#include "env/budget.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

Grouping MakeGroups(const std::vector<int64_t>& channels) {
  Grouping grouping;
  for (size_t g = 0; g < channels.size(); ++g) {
    PruneGroup group;
    group.name = absl::StrCat("g", g);
    group.channels = channels[g];
    grouping.groups.push_back(group);
  }
  return grouping;
}

Lattice MakeLattice(const std::vector<int64_t>& channels, int64_t multiple = 1,
                    double minimum = 0.2) {
  auto lattice =
      Lattice::Create(MakeGroups(channels),
                      {.channel_multiple = multiple, .min_preserve_ratio = minimum, .frozen = {}});
  EXPECT_TRUE(lattice.ok()) << lattice.status();
  return *lattice;
}

std::vector<int32_t> InOrder(size_t n) {
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// A chain of layers: sum of scale[l] * kept[l] * kept[l + 1], with a fixed input and output.
class ChainCost final : public CostFunction {
 public:
  ChainCost(std::vector<int64_t> scales, bool claims_monotone = true)
      : scales_(std::move(scales)), monotone_(claims_monotone) {}
  int64_t Evaluate(absl::Span<const int64_t> kept) const override {
    int64_t cost = 0, inputs = 3;
    for (size_t l = 0; l < scales_.size(); ++l) {
      const int64_t outputs = l < kept.size() ? kept[l] : 10;
      cost += scales_[l] * inputs * outputs;
      inputs = outputs;
    }
    return cost;
  }
  bool monotone() const override { return monotone_; }

 private:
  std::vector<int64_t> scales_;
  bool monotone_;
};

// A table of random latencies per pair of neighbouring counts: fewer channels may take longer.
class RandomTableCost final : public CostFunction {
 public:
  RandomTableCost(const Lattice& lattice, Rng& rng, int64_t noise) {
    for (size_t g = 0; g < lattice.num_groups(); ++g) {
      const int64_t rows = g == 0 ? 1 : lattice.choices(g - 1).back() + 1;
      const int64_t columns = lattice.choices(g).back() + 1;
      auto& table = tables_.emplace_back(rows, std::vector<int64_t>(columns));
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          table[i][j] = (g == 0 ? 10 * j : i * j) + static_cast<int64_t>(rng.Below(noise));
        }
      }
    }
  }
  int64_t Evaluate(absl::Span<const int64_t> kept) const override {
    int64_t cost = 0;
    for (size_t g = 0; g < tables_.size(); ++g) {
      cost += tables_[g][g == 0 ? 0 : kept[g - 1]][kept[g]];
    }
    return cost;
  }
  bool monotone() const override { return false; }

 private:
  std::vector<std::vector<std::vector<int64_t>>> tables_;
};

// Calls `visit` with every policy of the lattice.
void ForEachPolicy(const Lattice& lattice,
                   const std::function<void(const std::vector<int64_t>&)>& visit) {
  std::vector<int64_t> kept = lattice.Minimum();
  std::vector<size_t> at(kept.size(), 0);
  for (;;) {
    visit(kept);
    size_t g = 0;
    for (; g < kept.size(); ++g) {
      at[g] = (at[g] + 1) % lattice.choices(g).size();
      kept[g] = lattice.choices(g)[at[g]];
      if (at[g] != 0) break;
    }
    if (g == kept.size()) return;
  }
}

int64_t BruteForceMinimum(const CostFunction& cost, const Lattice& lattice) {
  int64_t minimum = std::numeric_limits<int64_t>::max();
  ForEachPolicy(lattice, [&](const std::vector<int64_t>& kept) {
    minimum = std::min(minimum, cost.Evaluate(kept));
  });
  return minimum;
}

// One episode of random wishes; returns the executed policy.
std::vector<int64_t> Walk(const Budget& budget, const Lattice& lattice, Rng& rng) {
  std::vector<int64_t> kept = lattice.Maximum();
  for (size_t step = 0; step < lattice.num_groups(); ++step) {
    const auto choices = lattice.choices(step);
    const int64_t wanted = choices[rng.Below(choices.size())];
    std::vector<int64_t> scratch = kept;
    kept[step] = budget.Clamp(step, wanted, scratch);
    EXPECT_TRUE(lattice.Contains(step, kept[step])) << kept[step];
  }
  return kept;
}

TEST(BudgetTest, ClampsToTheBoundsThatBruteForceFinds) {
  const ChainCost cost({9, 9, 4, 4, 1});
  const Lattice lattice = MakeLattice({6, 7, 5, 8});
  Rng rng(1);
  const int64_t whole = cost.Evaluate(lattice.Maximum());
  for (const bool land : {false, true}) {
    for (const double ratio : {0.25, 0.4, 0.6, 0.9, 1.0}) {
      const auto limit = static_cast<int64_t>(ratio * static_cast<double>(whole));
      const auto budget = Budget::Create(cost, lattice, InOrder(4), limit, land);
      ASSERT_TRUE(budget.ok()) << budget.status();
      for (int episode = 0; episode < 200; ++episode) {
        std::vector<int64_t> kept = lattice.Maximum();
        for (size_t step = 0; step < 4; ++step) {
          // By definition: with all later groups at their minimum (maximum), count by count.
          int64_t upper = 0, lower = std::numeric_limits<int64_t>::max();
          for (const int64_t count : lattice.choices(step)) {
            std::vector<int64_t> low = kept, high = kept;
            low[step] = high[step] = count;
            for (size_t later = step + 1; later < 4; ++later) {
              low[later] = lattice.choices(later).front();
              high[later] = lattice.choices(later).back();
            }
            if (cost.Evaluate(low) <= limit) upper = count;
            if (cost.Evaluate(high) >= limit) lower = std::min(lower, count);
          }
          if (!land) lower = 0;
          const auto choices = lattice.choices(step);
          const int64_t wanted = choices[rng.Below(choices.size())];
          std::vector<int64_t> scratch = kept;
          const int64_t executed = budget->Clamp(step, wanted, scratch);
          ASSERT_EQ(executed, std::min(std::max(wanted, lower), upper))
              << "step " << step << " wanted " << wanted;
          kept[step] = executed;
        }
        ASSERT_LE(cost.Evaluate(kept), limit);
      }
    }
  }
}

TEST(BudgetTest, ClipsLastLayerToMeetTheLimitExactly) {
  // 3 * kept + 10 * kept = 13 * kept: five of eight channels cost 65.
  const ChainCost cost({1, 1});
  const Lattice lattice = MakeLattice({8});
  const auto budget = Budget::Create(cost, lattice, {{0}}, 70, true);
  ASSERT_TRUE(budget.ok());
  std::vector<int64_t> kept{8};
  EXPECT_EQ(budget->Clamp(0, 8, kept), 5);  // from above
  EXPECT_EQ(budget->Clamp(0, 2, kept), 5);  // landing: from below, though six would be over
}

TEST(BudgetTest, WithoutALimitEveryWishIsGranted) {
  const ChainCost cost({9, 9, 4});
  const Lattice lattice = MakeLattice({6, 7});
  const auto budget =
      Budget::Create(cost, lattice, InOrder(2), std::numeric_limits<int64_t>::max(), false);
  ASSERT_TRUE(budget.ok());
  std::vector<int64_t> kept = lattice.Maximum();
  for (const int64_t wanted : lattice.choices(0)) EXPECT_EQ(budget->Clamp(0, wanted, kept), wanted);
}

TEST(BudgetTest, OutOfReachNamesTheSmallestReachableCost) {
  const ChainCost cost({9, 9, 4});
  const Lattice lattice = MakeLattice({10, 10}, 1, 0.5);
  const int64_t minimum = BruteForceMinimum(cost, lattice);  // 9*3*5 + 9*5*5 + 4*5*10
  ASSERT_EQ(minimum, 560);
  EXPECT_TRUE(Budget::Create(cost, lattice, InOrder(2), 560, true).ok());
  const auto refused = Budget::Create(cost, lattice, InOrder(2), 559, true);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(std::string(refused.status().message()),
            "a budget of 559 (0.3561 of the original's 1570) is out of reach: the smallest cost "
            "reachable is 560 (0.3567)");
}

TEST(BudgetTest, WitnessesAgreeWithBoundsWhereTheCostIsMonotoneAfterAll) {
  const ChainCost monotone({9, 9, 4, 4, 1}), unsure({9, 9, 4, 4, 1}, /*claims_monotone=*/false);
  const Lattice lattice = MakeLattice({6, 7, 5, 8}, 2);
  const int64_t limit = monotone.Evaluate(lattice.Maximum()) / 2;
  const auto bounds = Budget::Create(monotone, lattice, InOrder(4), limit, true);
  const auto witness = Budget::Create(unsure, lattice, InOrder(4), limit, true);
  ASSERT_TRUE(bounds.ok() && witness.ok());
  EXPECT_EQ(bounds->minimum_cost(), witness->minimum_cost());
  for (uint64_t seed = 0; seed < 500; ++seed) {
    Rng one(seed), other(seed);
    EXPECT_EQ(Walk(*bounds, lattice, one), Walk(*witness, lattice, other));
  }
}

TEST(BudgetTest, NonMonotoneTablesAreNeverExceeded) {
  Rng rng(7);
  int accepted = 0;
  for (int problem = 0; problem < 60; ++problem) {
    const Lattice lattice = MakeLattice({6, 5, 7, 6});
    const RandomTableCost cost(lattice, rng, 60);
    const int64_t minimum = BruteForceMinimum(cost, lattice);
    for (const int64_t above : {0, 1, 10, 60}) {
      for (const bool land : {false, true}) {
        const auto budget = Budget::Create(cost, lattice, InOrder(4), minimum + above, land);
        ASSERT_TRUE(budget.ok()) << budget.status();  // small enough to be searched exhaustively
        EXPECT_EQ(budget->minimum_cost(), minimum);
        ++accepted;
        for (int episode = 0; episode < 20; ++episode) {
          EXPECT_LE(cost.Evaluate(Walk(*budget, lattice, rng)), minimum + above);
        }
      }
    }
    EXPECT_FALSE(Budget::Create(cost, lattice, InOrder(4), minimum - 1, true).ok());
  }
  EXPECT_EQ(accepted, 480);
}

TEST(BudgetTest, CoordinateDescentComesCloseOnLatticesTooLargeToEnumerate) {
  Rng rng(11);
  int exact = 0;
  constexpr int kProblems = 30;
  for (int problem = 0; problem < kProblems; ++problem) {
    const Lattice lattice = MakeLattice({10, 9, 10, 9, 8}, 1, 0.01);  // 64,800 policies
    const RandomTableCost cost(lattice, rng, 40);
    const int64_t minimum = BruteForceMinimum(cost, lattice);
    const auto refused = Budget::Create(cost, lattice, InOrder(5), minimum - 1, false);
    ASSERT_EQ(refused.status().code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("the smallest cost found is"));
    const auto budget = Budget::Create(cost, lattice, InOrder(5), 4 * minimum, false);
    ASSERT_TRUE(budget.ok()) << budget.status();
    EXPECT_GE(budget->minimum_cost(), minimum);
    exact += budget->minimum_cost() == minimum;
    // A budget that descent reached is held, however tight.
    const auto tight = Budget::Create(cost, lattice, InOrder(5), budget->minimum_cost(), true);
    ASSERT_TRUE(tight.ok());
    for (int episode = 0; episode < 20; ++episode) {
      EXPECT_LE(cost.Evaluate(Walk(*tight, lattice, rng)), budget->minimum_cost());
    }
  }
  EXPECT_GE(exact, kProblems / 2);
}

}  // namespace
}  // namespace amc
