#include "env/cost/combined_cost.h"

#include <limits>

#include "base/rng.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

class Affine final : public CostFunction {
 public:
  Affine(int64_t constant, int64_t factor, bool monotone = true)
      : constant_(constant), factor_(factor), monotone_(monotone) {}
  int64_t Evaluate(absl::Span<const int64_t> kept) const override {
    return constant_ + factor_ * kept[0];
  }
  bool monotone() const override { return monotone_; }

 private:
  const int64_t constant_, factor_;
  const bool monotone_;
};

TEST(CombinedCostTest, IsWithinItsLimitExactlyIfEveryPartIs) {
  Rng rng(3);
  for (int i = 0; i < 20000; ++i) {
    // Limits of all sizes; costs around them, where rounding would tell.
    const int64_t limit_a = 1 + rng.Below(int64_t{1} << (1 + rng.Below(55)));
    const int64_t limit_b = 1 + rng.Below(int64_t{1} << (1 + rng.Below(55)));
    const Affine a(std::max<int64_t>(0, limit_a - 1 + rng.Below(3)), 0);
    const Affine b(std::max<int64_t>(0, limit_b - 1 + rng.Below(3)), 0);
    const CombinedCost both({{&a, limit_a}, {&b, limit_b}});
    const std::vector<int64_t> kept{1};
    ASSERT_EQ(both.Evaluate(kept) <= CombinedCost::kFull,
              a.Evaluate(kept) <= limit_a && b.Evaluate(kept) <= limit_b)
        << a.Evaluate(kept) << " of " << limit_a << ", " << b.Evaluate(kept) << " of " << limit_b;
  }
}

TEST(CombinedCostTest, IsTheLargestShareOfALimit) {
  const Affine a(0, 10), b(100, 1);
  const CombinedCost both({{&a, 100}, {&b, 200}});
  EXPECT_EQ(both.Evaluate(std::vector<int64_t>{0}), CombinedCost::kFull / 2);
  EXPECT_EQ(both.Evaluate(std::vector<int64_t>{10}), CombinedCost::kFull);
  EXPECT_TRUE(both.monotone());
}

TEST(CombinedCostTest, IsMonotoneIfAllPartsAre) {
  const Affine a(0, 10), b(100, 1, /*monotone=*/false);
  EXPECT_FALSE(CombinedCost({{&a, 100}, {&b, 200}}).monotone());
}

TEST(CombinedCostTest, DoesNotOverflow) {
  const Affine a(std::numeric_limits<int64_t>::max() / 2, 0);
  const CombinedCost one({{&a, 1}});
  EXPECT_EQ(one.Evaluate(std::vector<int64_t>{1}), std::numeric_limits<int64_t>::max());
}

}  // namespace
}  // namespace amc
