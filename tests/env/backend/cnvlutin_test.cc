#include "env/backend/cnvlutin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>

#include "base/rng.h"
#include "env/backend/zfnaf.h"
#include "tests/env/backend/simulated_layers.h"

namespace amc {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<int> Bytes(const std::string& file) {
  std::vector<int> bytes;
  for (const char c : file) bytes.push_back(static_cast<uint8_t>(c));
  return bytes;
}

// The lanes cycle by cycle: each takes the next activation that is not zero of its brick, or a
// brick that has none, until all are through the window.
int64_t SimulateLanes(const LayerWeights& layer, const LayerInput& input) {
  int64_t cycles = 0;
  for (int64_t oy = 0; oy < layer.output_size[0]; ++oy) {
    for (int64_t ox = 0; ox < layer.output_size[1]; ++ox) {
      std::array<std::deque<int>, 16> lanes;  // bricks, as numbers of activations
      size_t lane = 0;
      for (int64_t ky = 0; ky < layer.conv.kernel[0]; ++ky) {
        for (int64_t kx = 0; kx < layer.conv.kernel[1]; ++kx) {
          for (int64_t first = 0; first < layer.channels; first += 16, lane = (lane + 1) % 16) {
            int values = 0;
            for (int64_t c = first; c < std::min(first + 16, layer.channels); ++c) {
              if (testing::InputAt(layer, input, c, oy, ox, ky, kx) != 0) ++values;
            }
            lanes[lane].push_back(values);
          }
        }
      }
      for (bool busy = true; busy;) {
        ++cycles;
        busy = false;
        for (std::deque<int>& bricks : lanes) {
          if (!bricks.empty() && --bricks.front() <= 0) bricks.pop_front();
          busy = busy || !bricks.empty();
        }
      }
    }
  }
  return cycles * ((layer.outputs + 255) / 256);
}

FixedActivations RandomActivations(int64_t channels, int64_t height, int64_t width, double density,
                                   Rng& rng) {
  FixedActivations activations{channels, height, width, 8};
  for (int64_t i = 0; i < channels * height * width; ++i) {
    activations.values.push_back(rng.Uniform() < density ? static_cast<int16_t>(rng.Next()) : 0);
  }
  return activations;
}

TEST(ZfnafTest, GoldenBytes) {
  // 18 channels at one position: bricks [0, 0, 7, 0, -1, 0 ...] and [0, 258].
  FixedActivations activations{18, 1, 1, 3};
  activations.values.resize(18);
  activations.values[2] = 7;
  activations.values[4] = -1;
  activations.values[17] = 258;
  std::vector<int> want = {'Z', 'F', 'N', '1', 1, 0, 3, 18, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0};
  want.insert(want.end(), {7, 0, 0xff, 0xff});
  want.insert(want.end(), 28, 0);
  want.push_back(0x42);  // offsets 2 and 4
  want.insert(want.end(), 7, 0);
  want.insert(want.end(), {2, 1});
  want.insert(want.end(), 30, 0);
  want.push_back(1);
  want.insert(want.end(), 7, 0);
  EXPECT_THAT(Bytes(EncodeZfnaf(activations)), ElementsAreArray(want));
  EXPECT_EQ(DecodeZfnaf(EncodeZfnaf(activations)).value(), activations);
}

TEST(ZfnafTest, DecodesWhatItEncodes) {
  Rng rng(1);
  for (const double density : {0.0, 0.4, 1.0}) {
    for (const int64_t channels : {1, 15, 16, 17, 64}) {
      const FixedActivations activations = RandomActivations(channels, 3, 2, density, rng);
      const std::string file = EncodeZfnaf(activations);
      EXPECT_THAT(file, SizeIs(19 + 40 * 6 * ((channels + 15) / 16)));
      const auto decoded = DecodeZfnaf(file);
      ASSERT_TRUE(decoded.ok()) << decoded.status();
      EXPECT_EQ(*decoded, activations);
    }
  }
}

TEST(ZfnafTest, ReaderTakesAnyBytes) {
  Rng rng(2);
  const std::string file = EncodeZfnaf(RandomActivations(20, 2, 2, 0.4, rng));
  testing::FuzzReader(file, [](const std::string& bytes) { return DecodeZfnaf(bytes).status(); });
  FixedActivations activations{4, 1, 1, 0, {0, 5, 6, 0}};
  std::string swapped = EncodeZfnaf(activations);
  swapped[19 + 32] = 0x12;  // offsets 2 and 1
  EXPECT_THAT(DecodeZfnaf(swapped).status().message(),
              HasSubstr("byte 19: slot 1 has value 6 and offset 1 after 2 of 4"));
}

TEST(CnvlutinTest, GoldenBytes) {
  Rng rng(3);
  LayerWeights layer = testing::RandomConv(
      {.outputs = 1, .channels = 2, .kernel = {1, 2}, .input_size = {1, 2}}, 1.0, rng);
  layer.values = {1, -0.5f, 0, 0.25f};  // c, kx
  const std::vector<int> want = {'C', 'N', 'V', '1', 1, 0, 14,   1, 0, 0, 0,    4, 0,   0,
                                 0,   2,   0,   0,   0, 0, 0x40, 0, 0, 0, 0xe0, 0, 0x10};
  EXPECT_THAT(Bytes(CnvlutinBackend().Write(layer).value()), ElementsAreArray(want));
}

TEST(CnvlutinTest, RunsWhatItReads) {
  Rng rng(4);
  testing::ExpectRunsWhatItReads(CnvlutinBackend(), testing::RandomLinear(20, 53, 0.5, rng), rng);
  testing::ExpectRunsWhatItReads(
      CnvlutinBackend(),
      testing::RandomConv({.outputs = 6, .channels = 5, .kernel = {3, 3}}, 0.5, rng), rng);
}

TEST(CnvlutinTest, ByHand) {
  // One window of 17 bricks: lane 0 has two of them.
  Rng rng(5);
  LayerWeights layer = testing::RandomConv({.outputs = 257, .channels = 17 * 16}, 1.0, rng);
  LayerInput input;
  input.values.resize(17 * 16);
  // All empty: lane 0 takes two cycles. 257 filters need two passes.
  EXPECT_EQ(CountCnvlutinCycles(layer, input).cycles, 2 * 2);
  EXPECT_EQ(CountCnvlutinCycles(layer, input).baseline, 2 * 17);
  // Brick 0 with three values, brick 16 with none, brick 5 with six.
  for (const int64_t i : {0, 5, 15, 80, 81, 82, 83, 84, 85}) input.values[i] = 1;
  EXPECT_EQ(CountCnvlutinCycles(layer, input).cycles, 2 * 6);
  for (const int64_t i : {256, 257, 258, 259}) input.values[i] = 1;
  EXPECT_EQ(CountCnvlutinCycles(layer, input).cycles, 2 * 7);
}

TEST(CnvlutinTest, EqualsTheLanesCycleByCycle) {
  Rng rng(6);
  for (const double density : {0.0, 0.2, 0.5, 1.0}) {
    for (const int64_t channels : {3, 16, 40, 256}) {
      const LayerWeights layer = testing::RandomConv({.outputs = 4,
                                                      .channels = channels,
                                                      .kernel = {3, 2},
                                                      .stride = {2, 1},
                                                      .pad = {1, 1},
                                                      .input_size = {6, 5}},
                                                     1.0, rng);
      const LayerInput input = testing::RandomInput(layer, density, rng);
      EXPECT_EQ(CountCnvlutinCycles(layer, input).cycles, SimulateLanes(layer, input))
          << density << " " << channels;
      EXPECT_EQ(CountCnvlutinCycles(layer, input).baseline,
                layer.positions() * 3 * 2 * ((channels + 15) / 16));
    }
  }
}

// Without zeros and padding, and with bricks for all lanes, nothing is gained or lost.
TEST(CnvlutinTest, DenseInputsTakeTheBaselinesTime) {
  Rng rng(7);
  const LayerWeights layer = testing::RandomConv(
      {.outputs = 300, .channels = 256, .kernel = {3, 3}, .input_size = {4, 4}}, 1.0, rng);
  const CnvlutinCycles dense = CountCnvlutinCycles(layer, testing::RandomInput(layer, 1.0, rng));
  EXPECT_EQ(dense.cycles, dense.baseline);
  const CnvlutinCycles half = CountCnvlutinCycles(layer, testing::RandomInput(layer, 0.5, rng));
  const double speed = static_cast<double>(half.baseline) / static_cast<double>(half.cycles);
  EXPECT_GT(speed, 1.5);
  EXPECT_LT(speed, 2);
}

TEST(CnvlutinTest, CostCountsDenseWeights) {
  Rng rng(8);
  const LayerWeights layer = testing::RandomConv(
      {.outputs = 3, .channels = 20, .kernel = {2, 2}, .input_size = {3, 3}}, 0.1, rng);
  const LayerInput input = testing::RandomInput(layer, 0.5, rng);
  const auto cost = CnvlutinBackend().Cost(layer, input);
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_EQ(cost->nonzeros, 3 * 20 * 4);
  EXPECT_EQ(cost->bytes, 2 * 3 * 20 * 4);
  EXPECT_EQ(cost->cycles, SimulateLanes(layer, input));
  EXPECT_DOUBLE_EQ(cost->microseconds, static_cast<double>(cost->cycles) / 606);
}

TEST(CnvlutinTest, RefusesGroups) {
  Rng rng(9);
  const LayerWeights layer =
      testing::RandomConv({.outputs = 4, .channels = 2, .groups = 2}, 1.0, rng);
  EXPECT_THAT(CnvlutinBackend().CheckEligible(layer).message(), HasSubstr("2 convolution groups"));
}

TEST(CnvlutinTest, ReaderTakesAnyBytes) {
  Rng rng(10);
  const LayerWeights layer =
      testing::RandomConv({.outputs = 3, .channels = 4, .kernel = {2, 2}}, 0.5, rng);
  const std::string file = CnvlutinBackend().Write(layer).value();
  testing::FuzzReader(
      file, [](const std::string& bytes) { return CnvlutinBackend().Read(bytes).status(); });
  std::string changed = file;
  changed[15] = 3;
  EXPECT_THAT(CnvlutinBackend().Read(changed).status().message(),
              HasSubstr("3 channels, want a divisor of the 16 columns"));
}

}  // namespace
}  // namespace amc
