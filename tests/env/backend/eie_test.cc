#include "env/backend/eie.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/rng.h"
#include "env/backend/codebook.h"
#include "env/backend/eie_cycles.h"
#include "env/backend/eie_matrix.h"
#include "env/backend/fixed_point.h"
#include "env/backend/packed_file.h"
#include "tests/env/backend/simulated_layers.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<int> V(const EieTable& table) {
  std::vector<int> v;
  for (const uint8_t entry : table.entries) v.push_back(entry & 15);
  return v;
}

std::vector<int> Z(const EieTable& table) {
  std::vector<int> z;
  for (const uint8_t entry : table.entries) z.push_back(entry >> 4);
  return z;
}

DenseMatrix RandomMatrix(int64_t rows, int64_t columns, double density, Rng& rng) {
  DenseMatrix matrix{rows, columns};
  for (int64_t i = 0; i < rows * columns; ++i) {
    matrix.values.push_back(rng.Uniform() < density ? static_cast<float>(rng.Normal()) : 0.0f);
  }
  return matrix;
}

// Section III-B: [0,0,1,2,0 (18 times),3].
TEST(EieTest, EncodesThePapersColumn) {
  DenseMatrix matrix{23, 1};
  matrix.values.resize(23);
  matrix.values[2] = 1;
  matrix.values[3] = 2;
  matrix.values[22] = 3;
  const auto encoded = EncodeEie(matrix, 1);
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  ASSERT_THAT(encoded->tables, SizeIs(1));
  EXPECT_THAT(V(encoded->tables[0]), ElementsAre(1, 2, 0, 3));
  EXPECT_THAT(Z(encoded->tables[0]), ElementsAre(2, 0, 15, 2));
  EXPECT_EQ(DecodeEie(*encoded), matrix);
}

// Figure 3: element 0 of 4, of a 16 x 8 matrix. The figure lists the element's weights as
// (row, column), and the z and p that they give.
TEST(EieTest, EncodesThePapersFigure3) {
  DenseMatrix matrix{16, 8};
  matrix.values.resize(16 * 8);
  const std::vector<std::pair<int64_t, int64_t>> weights = {
      {0, 0}, {8, 0}, {12, 0}, {4, 1}, {0, 2}, {12, 2}, {0, 4},
      {4, 4}, {0, 5}, {12, 5}, {0, 6}, {8, 7}, {12, 7}};
  for (size_t i = 0; i < weights.size(); ++i) {
    matrix.at(weights[i].first, weights[i].second) = static_cast<float>(i + 1);
  }
  const EieMatrix encoded = EncodeEie(matrix, 4).value();
  ASSERT_THAT(encoded.tables, SizeIs(4));
  EXPECT_THAT(Z(encoded.tables[0]), ElementsAre(0, 1, 0, 1, 0, 2, 0, 0, 0, 2, 0, 2, 0));
  EXPECT_THAT(V(encoded.tables[0]), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13));
  EXPECT_THAT(encoded.tables[0].pointers, ElementsAre(0, 3, 4, 6, 6, 8, 10, 11, 13));
  for (size_t element = 1; element < 4; ++element) {
    EXPECT_THAT(encoded.tables[element].entries, SizeIs(0));
  }
}

// Runs of 15 need no padding, runs of 16 do; each column starts anew; the end is not padded.
TEST(EieTest, PadsRunsOverFifteen) {
  DenseMatrix matrix{50, 3};
  matrix.values.resize(150);
  matrix.at(15, 0) = matrix.at(16, 1) = matrix.at(49, 2) = 1;
  const EieMatrix encoded = EncodeEie(matrix, 1).value();
  EXPECT_THAT(V(encoded.tables[0]), ElementsAre(1, 0, 1, 0, 0, 0, 1));
  EXPECT_THAT(Z(encoded.tables[0]), ElementsAre(15, 15, 0, 15, 15, 15, 1));
  EXPECT_THAT(encoded.tables[0].pointers, ElementsAre(0, 1, 3, 7));
  EXPECT_EQ(DecodeEie(encoded), matrix);
}

TEST(EieTest, GoldenBytes) {
  // -1.5 and 0.5 have 14 fraction bits: -24576 = 0xa000 and 8192 = 0x2000.
  const EieMatrix encoded = EncodeEie(DenseMatrix{3, 2, {0, 0.5f, -1.5f, 0, 0.5f, 0}}, 2).value();
  const std::string file = SerializeEie(encoded);
  const std::vector<int> want = {'E', 'I', 'E', '1', 1, 0,  // version
                                 2, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0x10, 0,
                                 0,                             // elements, rows, columns,
                                                                // batch of 4096
                                 4, 14,                         // bits of z, fraction bits
                                 0, 0, 0x00, 0xa0, 0x00, 0x20,  // codebook: 0, -1.5, 0.5
                                 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0x12, 0x02,  // element 0: rows
                                                                            // 0 and 2
                                 0, 0, 1, 0, 1, 0, 0x01};                   // element 1: row 1
  std::vector<int> bytes;
  for (const char c : file) bytes.push_back(static_cast<uint8_t>(c));
  EXPECT_THAT(bytes, ElementsAreArray(want));
  EXPECT_EQ(ParseEie(file).value(), encoded);
  EXPECT_EQ(encoded.bytes(), 32 + 15);
}

// Against clustering and rounding done apart from the packing.
TEST(EieTest, DecodesToSharedAndRoundedWeights) {
  Rng rng(1);
  for (const double density : {0.0, 0.02, 0.1, 0.5, 1.0}) {
    const DenseMatrix matrix = RandomMatrix(200, 37, density, rng);
    const Codebook codebook = ShareWeights(matrix.values, {.bits = 4}).value();
    const int bits = FractionBits(codebook.values).value();
    for (const int64_t elements : {1, 3, 64, 300}) {
      const auto parsed = ParseEie(SerializeEie(EncodeEie(matrix, elements).value()));
      ASSERT_TRUE(parsed.ok()) << parsed.status();
      const DenseMatrix decoded = DecodeEie(*parsed);
      for (size_t i = 0; i < matrix.values.size(); ++i) {
        ASSERT_EQ(decoded.values[i],
                  FromFixed(ToFixed(codebook.values[codebook.indices[i]], bits), bits));
      }
    }
  }
}

TEST(EieTest, StartsPointersAnewInEachBatch) {
  Rng rng(2);
  const DenseMatrix matrix = RandomMatrix(5, 4099, 0.5, rng);
  const EieMatrix encoded = EncodeEie(matrix, 2).value();
  EXPECT_EQ(encoded.batches(), 2);
  ASSERT_THAT(encoded.tables, SizeIs(4));
  EXPECT_THAT(encoded.tables[1].pointers, SizeIs(4097));
  EXPECT_THAT(encoded.tables[2].pointers, SizeIs(4));
  EXPECT_EQ(encoded.tables[2].pointers[0], 0);
  EXPECT_EQ(ParseEie(SerializeEie(encoded)).value(), encoded);
}

// 64 rows in each element: 1024 full columns would be 65536 entries.
TEST(EieTest, HalvesBatchesThatPointersCannotReach) {
  Rng rng(3);
  const DenseMatrix full = RandomMatrix(128, 1100, 1.0, rng);
  const EieMatrix encoded = EncodeEie(full, 2).value();
  EXPECT_EQ(encoded.batch_columns, 512);
  EXPECT_EQ(encoded.batches(), 3);
  const DenseMatrix decoded = DecodeEie(ParseEie(SerializeEie(encoded)).value());
  const Codebook codebook = ShareWeights(full.values, {.bits = 4}).value();
  for (size_t i = 0; i < full.values.size(); ++i) {
    ASSERT_NEAR(decoded.values[i], codebook.values[codebook.indices[i]],
                RoundingError(encoded.fraction_bits));
  }
}

TEST(EieTest, MultipliesWholeNumbersExactly) {
  Rng rng(4);
  const EieMatrix encoded = EncodeEie(RandomMatrix(150, 80, 0.2, rng), 64).value();
  const DenseMatrix decoded = DecodeEie(encoded);
  std::vector<int16_t> activations;
  for (int i = 0; i < 80; ++i) {
    activations.push_back(rng.Uniform() < 0.4 ? 0 : static_cast<int16_t>(rng.Next()));
  }
  activations[0] = std::numeric_limits<int16_t>::min();
  const std::vector<int64_t> sums = MultiplyEie(encoded, activations);
  ASSERT_THAT(sums, SizeIs(150));
  for (int64_t r = 0; r < 150; ++r) {
    int64_t want = 0;
    for (int64_t c = 0; c < 80; ++c) {
      want += int64_t{ToFixed(decoded.at(r, c), encoded.fraction_bits)} * activations[c];
    }
    EXPECT_EQ(sums[r], want);
  }
}

TEST(EieTest, RunsWhatItReads) {
  Rng rng(5);
  testing::ExpectRunsWhatItReads(EieBackend(), testing::RandomLinear(130, 70, 0.1, rng), rng);
  testing::ExpectRunsWhatItReads(
      EieBackend(),
      testing::RandomConv({.outputs = 6, .channels = 2, .groups = 3, .kernel = {3, 3}}, 0.5, rng),
      rng);
}

TEST(EieTest, ToleranceIsTheLayersLargestDifference) {
  Rng rng(6);
  LayerWeights layer = testing::RandomLinear(20, 20, 1.0, rng);
  const double tolerance = EieBackend().Tolerance(layer).value();
  const DenseMatrix read = EieBackend().Read(EieBackend().Write(layer).value()).value();
  double largest = 0;
  for (size_t i = 0; i < layer.values.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(read.values[i]) - layer.values[i]));
  }
  EXPECT_EQ(tolerance, largest);
  EXPECT_GT(tolerance, 0);
  for (float& value : layer.values) value = value > 0 ? 0.75f : -0.5f;
  EXPECT_EQ(EieBackend().Tolerance(layer).value(), 0);
}

TEST(EieTest, RefusesWeightsOutsideFixedPoint) {
  Rng rng(7);
  LayerWeights layer = testing::RandomLinear(2, 2, 1.0, rng);
  layer.values[1] = 40000;
  EXPECT_EQ(EieBackend().CheckEligible(layer).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(EieBackend().Write(layer).status().message(), HasSubstr("40000 does not fit"));
  layer.values[1] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(EieBackend().CheckEligible(layer).code(), absl::StatusCode::kFailedPrecondition);
}

// Each output position is a product with its column of im2col, c, ky, kx.
TEST(EieTest, CostsAConvolutionAsItsProducts) {
  Rng rng(8);
  for (const int64_t groups : {1, 2}) {
    const LayerWeights layer = testing::RandomConv({.outputs = 70,
                                                    .channels = 3,
                                                    .groups = groups,
                                                    .kernel = {3, 2},
                                                    .stride = {2, 1},
                                                    .pad = {1, 0},
                                                    .input_size = {7, 5}},
                                                   0.4, rng);
    const LayerInput input = testing::RandomInput(layer, 0.5, rng);
    const DenseMatrix matrix = ToMatrix(layer, ColumnOrder::kChannelsFirst).value();
    const EieCycles model(CountEieEntries(matrix, 64).value(), 4096);
    int64_t want = 0;
    for (int64_t oy = 0; oy < layer.output_size[0]; ++oy) {
      for (int64_t ox = 0; ox < layer.output_size[1]; ++ox) {
        std::vector<int64_t> broadcast;
        for (int64_t column = 0; column < matrix.columns; ++column) {
          const int64_t c = column / 6, ky = column / 2 % 3, kx = column % 2;
          if (testing::InputAt(layer, input, c, oy, ox, ky, kx) != 0) broadcast.push_back(column);
        }
        want += model.Count(broadcast);
      }
    }
    const auto cost = EieBackend().Cost(layer, input);
    ASSERT_TRUE(cost.ok()) << cost.status();
    EXPECT_EQ(cost->cycles, want);
    EXPECT_DOUBLE_EQ(cost->microseconds, static_cast<double>(want) / 800);
    const EieMatrix encoded = EncodeEie(matrix).value();
    EXPECT_EQ(cost->nonzeros, encoded.entries());
    EXPECT_EQ(cost->bytes, encoded.bytes());
  }
}

TEST(EieTest, CostRefusesInputsOfAnotherSize) {
  Rng rng(9);
  const LayerWeights layer = testing::RandomLinear(4, 6, 1.0, rng);
  EXPECT_THAT(EieBackend().Cost(layer, {{1, 2, 3}}).status().message(),
              HasSubstr("an input of 3 values, want 6"));
}

TEST(EieTest, ReaderNamesWhatIsWrong) {
  const std::string file =
      SerializeEie(EncodeEie(DenseMatrix{3, 2, {0, 0.5f, -1.5f, 0, 0.5f, 0}}, 2).value());
  const auto message = [&](size_t at, char byte) {
    std::string changed = file;
    changed[at] = byte;
    return std::string(ParseEie(changed).status().message());
  };
  EXPECT_THAT(message(3, '2'), HasSubstr("byte 0: \"EIE2\", want \"EIE1\""));
  EXPECT_THAT(message(4, 9), HasSubstr("byte 4: version 9, want 1"));
  EXPECT_THAT(message(10, 4), HasSubstr("262147 rows on 2 processing elements"));
  EXPECT_THAT(message(22, 1), HasSubstr("a codebook that begins with 1, want 0"));
  EXPECT_THAT(message(54, 1), HasSubstr("batch 0, element 0: the first pointer is 1, want 0"));
  EXPECT_THAT(message(60, 0x22), HasSubstr("batch 0, element 0: entry 0 is for row 2 of 2 rows"));
  EXPECT_THAT(message(60, 0x10), HasSubstr("entry 0 pads with z = 1, want 15"));
  EXPECT_THAT(ParseEie(file.substr(0, 60)).status().message(),
              HasSubstr("byte 60: 0 bytes are left, want 2"));
}

// 16 KiB that claim 2^28 rows must not make Run allocate more.
TEST(EieTest, BoundsWhatAFileClaims) {
  EieMatrix matrix{kMaxPackedValues, 1, 4097};
  matrix.tables.assign(4097, {{0, 0}, {}});
  const std::string file = SerializeEie(matrix);
  ASSERT_TRUE(ParseEie(file).ok());
  EXPECT_EQ(EieBackend().Run(file, std::vector<float>(1000), 1000).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(EieTest, ReaderTakesAnyBytes) {
  Rng rng(10);
  const LayerWeights layer = testing::RandomLinear(40, 9, 0.2, rng);
  testing::FuzzReader(
      SerializeEie(EncodeEie(ToMatrix(layer, ColumnOrder::kChannelsFirst).value(), 3).value()),
      [](const std::string& file) { return EieBackend().Read(file).status(); });
}

}  // namespace
}  // namespace amc
