// The linear model against closed forms, the surrogate on functions that it can and cannot hold.
#include "agent/surrogate.h"

#include <cmath>
#include <vector>

#include "agent/bayes_linear.h"
#include "base/rng.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

TEST(BayesLinearTest, OneWeightHasTheClosedFormPosterior) {
  BayesLinear model(1, 1);
  const double x[] = {1, 2, -1}, y[] = {1.1, 1.9, -0.7};
  for (int i = 0; i < 3; ++i) model.Add({&x[i], 1}, y[i], 0);
  const double prior[] = {2}, noise[] = {0.5};
  const double likelihood = model.Fit(prior, noise);
  const double precision = 6 / 0.25 + 1 / 4.0;  // sum of x^2 / noise^2 + 1 / prior^2
  EXPECT_NEAR(model.mean()[0], (1.1 + 3.8 + 0.7) / 0.25 / precision, 1e-12);
  const double at[] = {3};
  EXPECT_NEAR(model.Deviation(at), 3 / std::sqrt(precision), 1e-12);
  // log N(y; 0, noise^2 I + prior^2 x x^T), by the matrix determinant and inversion lemmas.
  const double yy = 1.1 * 1.1 + 1.9 * 1.9 + 0.7 * 0.7, xy = 1.1 + 3.8 + 0.7;
  const double determinant = std::log(std::pow(0.25, 3) * (1 + 4 * 6 / 0.25));
  const double quadratic = yy / 0.25 - xy * xy / 0.25 / 0.25 / precision;
  EXPECT_NEAR(likelihood, -0.5 * (quadratic + determinant + 3 * std::log(2 * M_PI)), 1e-9);
}

TEST(BayesLinearTest, SamplesHaveThePosteriorsMoments) {
  BayesLinear model(2, 2);
  Rng rng(1);
  for (int i = 0; i < 20; ++i) {
    const double x[] = {1, rng.Normal()};
    model.Add(x, 0.3 + 0.7 * x[1] + 0.1 * rng.Normal(), i % 2);
  }
  const double prior[] = {1, 1}, noise[] = {0.1, 0.5};
  model.Fit(prior, noise);
  const double at[] = {1, 2};
  double sum = 0, squares = 0;
  constexpr int kSamples = 20000;
  for (int i = 0; i < kSamples; ++i) {
    const std::vector<double> weights = model.Sample(1, rng);
    const double value = weights[0] + 2 * weights[1];
    sum += value;
    squares += value * value;
  }
  const double mean = sum / kSamples;
  const double expected = model.mean()[0] + 2 * model.mean()[1];
  EXPECT_NEAR(mean, expected, 0.005);
  EXPECT_NEAR(std::sqrt(squares / kSamples - mean * mean) / model.Deviation(at), 1, 0.03);
  EXPECT_EQ(model.Sample(0, rng), model.mean());
}

// Six groups of 16 choices that cost alike, and losses c_g (1/r - 1).
class SurrogateTest : public testing::Test {
 protected:
  static constexpr size_t kGroups = 6;
  SurrogateTest() : space_(Units(), Form(), 6 * 8) {
    for (size_t g = 0; g < kGroups; ++g) {
      curves_.emplace_back();
      for (int32_t i = 0; i < 16; ++i) curves_[g].push_back(1 / space_.Ratio(g, i) - 1);
    }
  }
  static std::vector<std::vector<int64_t>> Units() {
    std::vector<std::vector<int64_t>> units(kGroups);
    for (auto& group : units) {
      for (int64_t i = 1; i <= 16; ++i) group.push_back(i);
    }
    return units;
  }
  static CostForm Form() {
    return {.linear = std::vector<int64_t>(kGroups, 1),
            .pairs = std::vector<std::vector<int64_t>>(kGroups, std::vector<int64_t>(kGroups, 0))};
  }
  Choice Random(Rng& rng) const {
    Choice choice;
    for (size_t g = 0; g < kGroups; ++g) choice.push_back(static_cast<int32_t>(4 + rng.Below(12)));
    return choice;
  }
  // The first group matters three times as much as its curve says, the last a third.
  double Loss(const Choice& choice) const {
    double sum = 0;
    for (size_t g = 0; g < kGroups; ++g) {
      sum += (g == 0 ? 3 : g + 1 == kGroups ? 1 / 3.0 : 1) * curves_[g][choice[g]];
    }
    return 0.05 * sum;
  }

  PolicySpace space_;
  GroupTables curves_;
};

TEST_F(SurrogateTest, LearnsWhereTheCurvesAreWrong) {
  Surrogate surrogate(space_, curves_, 0, Choice(kGroups, 7), {500, 5000});
  Rng rng(3);
  for (int i = 0; i < 150; ++i) {
    const Choice choice = Random(rng);
    const bool screening = i % 5 != 0;  // off by a tenth, and noisier
    const double noise = screening ? 0.1 + 0.02 * rng.Normal() : 0.005 * rng.Normal();
    surrogate.Add(choice, Loss(choice) * std::exp(noise), screening ? 500 : 5000);
  }
  surrogate.Fit(surrogate.ChooseDeviations());
  double prior_error = 0, error = 0, deviation = 0;
  for (int i = 0; i < 200; ++i) {
    const Choice choice = Random(rng);
    double sum = 0;
    for (size_t g = 0; g < kGroups; ++g) sum += curves_[g][choice[g]];
    prior_error += std::pow(std::log(0.055 * sum) - std::log(Loss(choice)), 2) / 200;
    error += std::pow(surrogate.Mean(choice) - std::log(Loss(choice)), 2) / 200;
    deviation += surrogate.Deviation(choice) / 200;
    EXPECT_NEAR(surrogate.Expected().Value(choice) - surrogate.Expected().Value(Choice(6, 7)),
                surrogate.Mean(choice) - surrogate.Mean(Choice(6, 7)), 1e-6);
  }
  EXPECT_LT(std::sqrt(error), 0.3 * std::sqrt(prior_error));
  EXPECT_LT(std::sqrt(error), 5 * deviation);
}

TEST_F(SurrogateTest, ItsMinimumIsNearTheTrueOneWhereThePlanIsNot) {
  const Objective plan{.loss = curves_, .bonus = {}};
  const Choice start = Exchange(space_, plan, space_.Minimum(), {.thorough = true});
  Surrogate surrogate(space_, curves_, 0, start, {5000});
  Rng rng(4);
  for (int i = 0; i < 60; ++i) {
    const Choice choice = Random(rng);
    surrogate.Add(choice, Loss(choice), 5000);
  }
  surrogate.Fit(surrogate.ChooseDeviations());
  const Choice found = Exchange(space_, surrogate.Expected(), start, {});
  EXPECT_TRUE(space_.Fits(found));
  EXPECT_LT(Loss(found), 0.9 * Loss(start));
  GroupTables truth = curves_;
  for (double& loss : truth.front()) loss *= 3;
  for (double& loss : truth.back()) loss /= 3;
  const Choice best =
      Exchange(space_, {.loss = truth, .bonus = {}}, space_.Minimum(), {.thorough = true});
  EXPECT_LT(Loss(found), 1.05 * Loss(best));
}

TEST_F(SurrogateTest, DrawsStrayWithTheTemperature) {
  Surrogate surrogate(space_, curves_, 0, Choice(kGroups, 7), {5000});
  surrogate.Add(Choice(kGroups, 7), 0.1, 5000);
  surrogate.Fit(surrogate.ChooseDeviations());
  const auto distance = [&](double temperature) {
    Rng rng(5);
    const Objective expected = surrogate.Expected(), drawn = surrogate.Draw(temperature, rng);
    double sum = 0;
    for (size_t g = 0; g < kGroups; ++g) sum += std::abs(drawn.bonus[g][2] - expected.bonus[g][2]);
    return sum;
  };
  EXPECT_EQ(distance(0), 0);
  EXPECT_NEAR(distance(2) / distance(1), 2, 1e-6);
}

}  // namespace
}  // namespace amc
