#include "env/backend/cambricon_x.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "tests/env/backend/simulated_layers.h"

namespace amc {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

std::vector<int> Bytes(const std::string& file) {
  std::vector<int> bytes;
  for (const char c : file) bytes.push_back(static_cast<uint8_t>(c));
  return bytes;
}

DenseMatrix RandomMatrix(int64_t rows, int64_t columns, double density, Rng& rng) {
  return ToMatrix(testing::RandomLinear(rows, columns, density, rng), ColumnOrder::kChannelsLast)
      .value();
}

// The elements cycle by cycle: each picks up to 16 synapses of its neuron's window and goes on
// when none is left.
int64_t SimulateElements(const DenseMatrix& matrix) {
  int64_t slowest = 0;
  for (int64_t element = 0; element < 16; ++element) {
    int64_t cycles = 0;
    for (int64_t neuron = element; neuron < matrix.rows; neuron += 16) {
      for (int64_t window = 0; window < matrix.columns; window += 256) {
        int64_t column = window;
        const int64_t end = std::min(window + 256, matrix.columns);
        bool left = true;
        while (left) {
          ++cycles;
          for (int picked = 0; picked < 16 && column < end; ++column) {
            if (matrix.at(neuron, column) != 0) ++picked;
          }
          while (column < end && matrix.at(neuron, column) == 0) ++column;
          left = column < end;
        }
      }
    }
    slowest = std::max(slowest, cycles);
  }
  return slowest;
}

TEST(CambriconXTest, GoldenBytesOfBothIndexings) {
  // 1 and -0.5 have 14 fraction bits: 16384 = 0x4000 and -8192 = 0xe000.
  const DenseMatrix matrix{2, 10, {0, 0, 1, 0, 0, 0, 0, 0, 0, -0.5f,  //
                                   1, 0, 0, 0, 0, 0, 0, 0, 0, 0}};
  const std::vector<int> direct = {
      'C',  'B',  'X',  '1', 1, 0, 0, 14, 2,    0, 0,    0, 10,
      0,    0,    0,    3,   0, 0, 0, 0,  0x40, 0, 0xe0, 0, 0x40,  // synapses
      0x04, 0x02, 0x01, 0x00};                                     // bits
  EXPECT_THAT(Bytes(EncodeCambriconX(matrix, CambriconXIndexing::kDirect).value()),
              ElementsAreArray(direct));
  const std::vector<int> step = {'C', 'B', 'X', '1', 1, 0, 1, 14,   2, 0,    0, 0,    10, 0,
                                 0,   0,   3,   0,   0, 0, 0, 0x40, 0, 0xe0, 0, 0x40,  // synapses
                                 2,   0,   2,   7,   1, 0, 0};  // counts and steps
  EXPECT_THAT(Bytes(EncodeCambriconX(matrix, CambriconXIndexing::kStep).value()),
              ElementsAreArray(step));
}

TEST(CambriconXTest, BothIndexingsHoldTheSame) {
  Rng rng(1);
  for (const double density : {0.0, 0.01, 0.3, 1.0}) {
    for (const int64_t columns : {1, 255, 256, 257, 700}) {
      const DenseMatrix matrix = RandomMatrix(9, columns, density, rng);
      const std::string direct = EncodeCambriconX(matrix, CambriconXIndexing::kDirect).value();
      const std::string step = EncodeCambriconX(matrix, CambriconXIndexing::kStep).value();
      const auto read = CambriconXBackend().Read(direct);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(*read, CambriconXBackend().Read(step).value());
      for (size_t i = 0; i < matrix.values.size(); ++i) {
        ASSERT_NEAR(read->values[i], matrix.values[i], 1.0 / 4096);
      }
      EXPECT_EQ(EncodeCambriconX(matrix).value(), step.size() < direct.size() ? step : direct);
    }
  }
}

TEST(CambriconXTest, ByHand) {
  // 17 neurons, so that element 0 has two: 1 synapse and 17 of a window; a second window is empty.
  DenseMatrix matrix{17, 300};
  matrix.values.resize(17 * 300);
  matrix.at(0, 5) = 1;
  for (int64_t c = 0; c < 17; ++c) matrix.at(16, c) = 1;
  EXPECT_EQ(CambriconXCycles(matrix), (1 + 1) + (2 + 1));
}

TEST(CambriconXTest, EqualsTheElementsCycleByCycle) {
  Rng rng(2);
  for (const double density : {0.0, 0.05, 0.2, 0.6, 1.0}) {
    for (const int64_t rows : {1, 15, 16, 40}) {
      const DenseMatrix matrix = RandomMatrix(rows, 600, density, rng);
      EXPECT_EQ(CambriconXCycles(matrix), SimulateElements(matrix)) << density << " " << rows;
    }
  }
}

TEST(CambriconXTest, RunsWhatItReads) {
  Rng rng(3);
  for (const double density : {0.03, 0.5}) {
    testing::ExpectRunsWhatItReads(CambriconXBackend(),
                                   testing::RandomLinear(20, 530, density, rng), rng);
  }
  testing::ExpectRunsWhatItReads(
      CambriconXBackend(),
      testing::RandomConv({.outputs = 6, .channels = 5, .kernel = {3, 3}}, 0.5, rng), rng);
}

// Zeros among the inputs save nothing.
TEST(CambriconXTest, CostsAProductForEachPosition) {
  Rng rng(4);
  const LayerWeights layer = testing::RandomConv(
      {.outputs = 20, .channels = 33, .kernel = {3, 3}, .input_size = {5, 4}}, 0.3, rng);
  LayerInput input;
  input.values.resize(33 * 5 * 4);
  const auto cost = CambriconXBackend().Cost(layer, input);
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_EQ(cost->cycles,
            6 * SimulateElements(ToMatrix(layer, ColumnOrder::kChannelsLast).value()));
  EXPECT_DOUBLE_EQ(cost->microseconds, static_cast<double>(cost->cycles) / 1000);
  EXPECT_EQ(cost->nonzeros, layer.NonZeros());
  EXPECT_EQ(cost->bytes + 20,
            static_cast<int64_t>(CambriconXBackend().Write(layer).value().size()));
}

TEST(CambriconXTest, RefusesGroups) {
  Rng rng(5);
  const LayerWeights layer =
      testing::RandomConv({.outputs = 4, .channels = 2, .groups = 2}, 1.0, rng);
  EXPECT_EQ(CambriconXBackend().CheckEligible(layer).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(CambriconXBackend().Write(layer).status().message(),
              HasSubstr("2 convolution groups"));
}

TEST(CambriconXTest, ReaderNamesWhatIsWrong) {
  const DenseMatrix matrix{1, 10, {0, 0, 1, 0, 0, 0, 0, 0, 0, 1}};
  const auto message = [](std::string file, size_t at, char byte) {
    file[at] = byte;
    return std::string(CambriconXBackend().Read(file).status().message());
  };
  const std::string direct = EncodeCambriconX(matrix, CambriconXIndexing::kDirect).value();
  EXPECT_THAT(message(direct, 6, 2), HasSubstr("byte 6: indexing 2, want 0 or 1"));
  EXPECT_THAT(message(direct, 24, 7), HasSubstr("byte 24: synapse 4 of 2"));
  EXPECT_THAT(message(direct, 24, 0), HasSubstr("2 synapses, of which the index has 1"));
  EXPECT_THAT(message(direct, 25, 4), HasSubstr("byte 24: column 10 of a window of 10"));
  EXPECT_THAT(message(direct, 11, 1), HasSubstr("byte 24: 2 bytes of index, want"));
  const std::string step = EncodeCambriconX(matrix, CambriconXIndexing::kStep).value();
  EXPECT_THAT(message(step, 27, 0), HasSubstr("byte 24: a step of 0"));
  EXPECT_THAT(message(step, 27, 8), HasSubstr("byte 24: column 10 of a window of 10"));
}

TEST(CambriconXTest, ReaderTakesAnyBytes) {
  Rng rng(6);
  const DenseMatrix matrix = RandomMatrix(4, 300, 0.2, rng);
  for (const CambriconXIndexing indexing :
       {CambriconXIndexing::kDirect, CambriconXIndexing::kStep}) {
    testing::FuzzReader(EncodeCambriconX(matrix, indexing).value(), [](const std::string& file) {
      return CambriconXBackend().Read(file).status();
    });
  }
}

}  // namespace
}  // namespace amc
