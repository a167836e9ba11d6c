// Which weights stay: known answers, and the definition by brute force.
#include "env/prune/sparse_mask.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/prune/sparse_layers.h"

namespace amc {
namespace {

using ::amc::testing::RandomConv;
using ::amc::testing::RandomLinear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

LayerWeights Linear(int64_t outputs, int64_t inputs, std::vector<float> values) {
  LayerWeights layer = RandomLinear(outputs, inputs);
  layer.values = std::move(values);
  return layer;
}

SparseMask Select(const LayerWeights& layer, SparseDecision decision,
                  const SparsityOptions& options = {}) {
  decision.target = layer.name;
  const auto mask =
      SelectWeights(layer, decision, options, FrequentPatterns(absl::MakeConstSpan(&layer, 1), 8));
  EXPECT_TRUE(mask.ok()) << mask.status();
  return mask.ok() ? *mask : SparseMask();
}

SparseDecision Share(Granularity granularity, int64_t kept) {
  return {.granularity = granularity, .kept = kept};
}

SparseDecision NM(int64_t n, int64_t m) {
  return {.granularity = Granularity::kNM, .kept = n, .of = m};
}

TEST(SparseMaskTest, LargestElementsStayAndTheFirstOfEqualOnes) {
  const LayerWeights layer = Linear(2, 4, {1, -5, 2, 2, 0, 2, 3, -2});
  EXPECT_THAT(Select(layer, Share(Granularity::kElement, 128)),  // 4 of 8
              ElementsAre(0, 1, 1, 1, 0, 0, 1, 0));
  EXPECT_THAT(Select(layer, Share(Granularity::kElement, 129)),  // rounded up to 5
              ElementsAre(0, 1, 1, 1, 0, 1, 1, 0));
  EXPECT_THAT(Select(layer, Share(Granularity::kElement, 1)),  // at least one
              ElementsAre(0, 1, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(Select(layer, Share(Granularity::kElement, 256)),
              ElementsAre(1, 1, 1, 1, 1, 1, 1, 1));
}

TEST(SparseMaskTest, TheNormDecidesBetweenOneLargeWeightAndManySmallOnes) {
  const LayerWeights layer = Linear(1, 4, {3, 0, 2, 2});
  SparsityOptions options;
  options.vector_length = 2;
  EXPECT_THAT(Select(layer, Share(Granularity::kVector, 128), options), ElementsAre(0, 0, 1, 1));
  options.norm = 2;
  EXPECT_THAT(Select(layer, Share(Granularity::kVector, 128), options), ElementsAre(1, 1, 0, 0));
}

TEST(SparseMaskTest, VectorsOfKernelsAreTheirRows) {
  LayerWeights layer = RandomConv(1, 1, {3, 3});
  layer.values = {9, 0, 0, 3, 3, 4, 1, 1, 1};
  EXPECT_THAT(Select(layer, Share(Granularity::kVector, 128)),  // 2 of 3
              ElementsAre(1, 1, 1, 1, 1, 1, 0, 0, 0));
}

TEST(SparseMaskTest, KernelsOfOneOutputAndInputGoTogether) {
  LayerWeights layer = RandomConv(2, 2, {1, 2});
  layer.values = {1, 1, 5, 0, 0, 4, 2, 1};
  EXPECT_THAT(Select(layer, Share(Granularity::kKernel, 128)), ElementsAre(0, 0, 1, 1, 1, 1, 0, 0));
}

TEST(SparseMaskTest, BlocksAreThoseOfTheChannelsFirstMatrix) {
  const LayerWeights layer = Linear(2, 4, {1, 0, 2, 2, 0, 1, 3, 3});
  SparsityOptions options;
  options.block = {2, 2};
  EXPECT_THAT(Select(layer, Share(Granularity::kBlock, 128), options),
              ElementsAre(0, 0, 1, 1, 0, 0, 1, 1));
  options.block = {1, 2};
  EXPECT_THAT(Select(layer, Share(Granularity::kBlock, 128), options),
              ElementsAre(0, 0, 1, 1, 0, 0, 1, 1));
}

TEST(SparseMaskTest, TwoOfFourInputChannelsStayAtEveryKernelPosition) {
  LayerWeights layer = RandomConv(1, 4, {1, 2});
  layer.values = {1, -8, 2, 7, -3, 6, 4, 5};  // channel by channel
  EXPECT_THAT(Select(layer, NM(2, 4)), ElementsAre(0, 1, 0, 1, 1, 0, 1, 0));
  EXPECT_THAT(Select(layer, NM(1, 2)), ElementsAre(0, 1, 1, 0, 0, 1, 1, 0));
  EXPECT_THAT(Select(layer, NM(4, 4)), ElementsAre(1, 1, 1, 1, 1, 1, 1, 1));
  const LayerWeights equal = Linear(1, 4, {2, 2, -2, 2});
  EXPECT_THAT(Select(equal, NM(2, 4)), ElementsAre(1, 1, 0, 0));
}

TEST(SparseMaskTest, NaturalPatternsAreTheCentreAndTheThreeLargest) {
  EXPECT_EQ(NaturalPattern({9, 1, 8, 2, 0, 3, 7, 4, 5}), 0b001010101);
  EXPECT_EQ(NaturalPattern({1, 1, 1, 1, 1, 1, 1, 1, 1}), 0b000010111);  // the first of equal ones
}

// 30 kernels have one shape, 20 a second, 10 a third: of a dictionary of two, the third kind takes
// the one that keeps more of it.
TEST(SparseMaskTest, PatternsComeFromTheMostFrequentShapes) {
  const std::vector<std::vector<float>> shapes = {
      {9, 8, 7, 0, 1, 0, 0, 0, 0}, {0, 0, 0, 0, 1, 0, 7, 8, 9}, {0, 2, 0, 9, 1, 9, 0, 0, 0}};
  LayerWeights layer = RandomConv(6, 10, {3, 3});
  layer.values.clear();
  for (const size_t shape : {0, 0, 1, 0, 1, 2}) {
    for (int i = 0; i < 10; ++i) {
      layer.values.insert(layer.values.end(), shapes[shape].begin(), shapes[shape].end());
    }
  }
  const std::vector<KernelPattern> patterns = FrequentPatterns(absl::MakeConstSpan(&layer, 1), 2);
  ASSERT_THAT(patterns, ElementsAre(0b000010111, 0b111010000));
  SparseDecision decision = Share(Granularity::kPattern, 256);
  decision.target = "conv";
  const SparseMask mask = SelectWeights(layer, decision, {}, patterns).value();
  EXPECT_EQ(std::accumulate(mask.begin(), mask.end(), 0), 60 * 4);
  EXPECT_THAT(SparseMask(mask.begin() + 50 * 9, mask.begin() + 51 * 9),
              ElementsAre(1, 1, 1, 0, 1, 0, 0, 0, 0));
  // Of half of the kernels, all of the first two kinds are larger than any of the third.
  decision.kept = 128;
  const SparseMask half = SelectWeights(layer, decision, {}, patterns).value();
  EXPECT_EQ(std::accumulate(half.begin(), half.end(), 0), 30 * 4);
  EXPECT_EQ(std::accumulate(half.begin() + 50 * 9, half.end(), 0), 0);
  EXPECT_THAT(SelectWeights(layer, decision, {}, {}).status().message(),
              HasSubstr("no patterns to choose from"));
}

TEST(SparseMaskTest, DeadKernelsHaveNoShape) {
  LayerWeights layer = RandomConv(2, 8, {3, 3});
  layer.values.assign(layer.values.size(), 0);
  EXPECT_TRUE(FrequentPatterns(absl::MakeConstSpan(&layer, 1), 8).empty());
}

// Every unit by the definition of its granularity, spelled out in coordinates.
int64_t UnitOf(const LayerWeights& layer, Granularity granularity, const SparsityOptions& options,
               int64_t o, int64_t c, int64_t y, int64_t x) {
  const int64_t kernel = o * layer.channels + c;
  const int64_t feature = (c * layer.conv.kernel[0] + y) * layer.conv.kernel[1] + x;
  switch (granularity) {
    case Granularity::kElement:
      return o * layer.features() + feature;
    case Granularity::kVector:
      return layer.form == LayerForm::kConv
                 ? kernel * layer.conv.kernel[0] + y
                 : o * (layer.channels / options.vector_length) + c / options.vector_length;
    case Granularity::kKernel:
      return kernel;
    default:
      return o / options.block[0] * 1000000 + feature / options.block[1];
  }
}

TEST(SparseMaskTest, NoUnitThatGoesIsLargerThanOneThatStays) {
  SparsityOptions options;
  options.block = {2, 3};
  uint64_t seed = 0;
  for (const LayerWeights& layer :
       {RandomConv(6, 4, {3, 3}), RandomConv(8, 3, {1, 5}), RandomConv(8, 3, {3, 3}, 4),
        RandomLinear(4, 12), RandomConv(4, 6, {1, 1})}) {
    for (const Granularity granularity :
         {Granularity::kElement, Granularity::kVector, Granularity::kKernel, Granularity::kBlock}) {
      if (granularity == Granularity::kKernel && layer.form != LayerForm::kConv) continue;
      for (const int64_t kept : {1, 26, 100, 128, 255, 256}) {
        for (const int norm : {1, 2}) {
          options.norm = norm;
          SCOPED_TRACE(++seed);
          const SparseDecision decision = Share(granularity, kept);
          const SparseMask mask = Select(layer, decision, options);
          std::map<int64_t, double> norms;
          std::map<int64_t, std::vector<int>> flags;
          size_t i = 0;
          for (int64_t o = 0; o < layer.outputs; ++o) {
            for (int64_t c = 0; c < layer.channels; ++c) {
              for (int64_t y = 0; y < layer.conv.kernel[0]; ++y) {
                for (int64_t x = 0; x < layer.conv.kernel[1]; ++x, ++i) {
                  const int64_t unit = UnitOf(layer, granularity, options, o, c, y, x);
                  norms[unit] += std::pow(std::abs(layer.values[i]), norm);
                  flags[unit].push_back(mask[i]);
                }
              }
            }
          }
          double least = std::numeric_limits<double>::infinity(), most = 0;
          int64_t stay = 0;
          for (const auto& [unit, own] : flags) {
            EXPECT_EQ(std::count(own.begin(), own.end(), own[0]), static_cast<int64_t>(own.size()));
            stay += own[0];
            if (own[0] != 0) least = std::min(least, norms[unit]);
            if (own[0] == 0) most = std::max(most, norms[unit]);
          }
          EXPECT_GE(least, most * (1 - 1e-6));
          const auto units = static_cast<double>(flags.size());
          EXPECT_EQ(stay, std::ceil(static_cast<double>(kept) * units / 256));
          EXPECT_EQ(CountUnits(layer, decision, options)->kept_weights(),
                    std::accumulate(mask.begin(), mask.end(), int64_t{0}));
        }
      }
    }
  }
}

TEST(SparseMaskTest, CountsWithoutLookingAtValues) {
  LayerWeights layer = RandomConv(8, 8, {3, 3});
  for (const SparseDecision& decision :
       {NM(2, 4), NM(1, 8), NM(4, 4), Share(Granularity::kPattern, 256),
        Share(Granularity::kPattern, 77), Share(Granularity::kBlock, 10)}) {
    const SparseMask mask = Select(layer, decision);
    EXPECT_EQ(CountUnits(layer, decision, {})->kept_weights(),
              std::accumulate(mask.begin(), mask.end(), int64_t{0}));
  }
  EXPECT_FALSE(IsDense(Share(Granularity::kPattern, 256)));
  EXPECT_TRUE(IsDense(NM(4, 4)));
}

TEST(SparseMaskTest, ApplyingItWritesZerosAndNothingElse) {
  const LayerWeights layer = Linear(1, 4, {1, -2, 3, -4});
  const LayerWeights masked = ApplyMask(layer, {1, 0, 0, 1});
  EXPECT_THAT(masked.values, ElementsAre(1, 0, 0, -4));
  EXPECT_FALSE(std::signbit(masked.values[1]));
}

TEST(SparseMaskTest, RefusesLayersWithoutSuchUnitsAndSaysWhy) {
  const auto reason = [](const LayerWeights& layer, SparseDecision decision) {
    decision.target = layer.name;
    const absl::Status status = SelectWeights(layer, decision, {}, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(reason(RandomConv(4, 3, {3, 3}), NM(2, 4)),
            "layer conv: 3 input channels are no multiple of 4");
  EXPECT_EQ(reason(RandomConv(4, 3, {3, 3}), Share(Granularity::kBlock, 128)),
            "layer conv: 27 features are no multiple of 4");
  EXPECT_EQ(reason(RandomLinear(10, 64), Share(Granularity::kBlock, 128)),
            "layer linear: 10 outputs are no multiple of 4");
  EXPECT_EQ(reason(RandomConv(8, 4, {1, 1}, 4), Share(Granularity::kBlock, 128)),
            "layer conv: 2 outputs per group are no multiple of 4");
  EXPECT_EQ(reason(RandomLinear(8, 6), Share(Granularity::kVector, 128)),
            "layer linear: 6 inputs are no multiple of 4");
  EXPECT_EQ(reason(RandomLinear(8, 8), Share(Granularity::kKernel, 128)),
            "layer linear: a linear layer has no kernels");
  EXPECT_EQ(reason(RandomConv(4, 4, {1, 1}), Share(Granularity::kPattern, 256)),
            "layer conv: kernels are 1x1, want 3x3");
}

TEST(SparseMaskTest, RefusesDecisionsAndWeightsOutOfRange) {
  LayerWeights layer = RandomConv(4, 4, {3, 3});
  const auto message = [&](SparseDecision decision, const SparsityOptions& options = {}) {
    decision.target = layer.name;
    const absl::Status status = SelectWeights(layer, decision, options, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message(Share(Granularity::kElement, 0)), HasSubstr("0 kept of 256"));
  EXPECT_THAT(message(Share(Granularity::kElement, 257)), HasSubstr("257 kept of 256"));
  EXPECT_THAT(message({.kept = 1, .of = 4}), HasSubstr("element sparsity of 4, want 256"));
  EXPECT_THAT(message(NM(5, 4)), HasSubstr("5 kept of 4"));
  EXPECT_THAT(message(NM(1, 1)), HasSubstr("nm sparsity of 1, want 2 to 64"));
  EXPECT_THAT(message(Share(Granularity::kChannel, 3)), HasSubstr("granularity 1"));
  EXPECT_THAT(message(Share(static_cast<Granularity>(99), 3)), HasSubstr("granularity 99"));
  SparsityOptions options;
  options.block = {0, 4};
  EXPECT_THAT(message(Share(Granularity::kElement, 3), options), HasSubstr("block rows is 0"));
  layer.values[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(message(NM(2, 4)), HasSubstr("weight 7 is nan"));
  layer.values.pop_back();
  EXPECT_THAT(message(NM(2, 4)), HasSubstr("143 weights, its shape has 144"));
}

TEST(SparseMaskTest, NamesOfGranularitiesGoBackAndForth) {
  for (int i = 1; i <= 7; ++i) {
    const auto granularity = static_cast<Granularity>(i);
    EXPECT_EQ(ParseGranularity(GranularityName(granularity)).value(), granularity);
  }
  EXPECT_THAT(ParseGranularity("fine").status().message(), HasSubstr("granularity fine"));
}

}  // namespace
}  // namespace amc
