#include "env/backend/nvidia24.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "env/backend/half.h"
#include "env/backend/layer_check.h"
#include "env/backend/nvidia24_metadata.h"
#include "env/backend/safetensors.h"
#include "tests/env/backend/simulated_layers.h"

namespace amc {
namespace {

using ::amc::testing::FuzzReader;
using ::amc::testing::RandomConv;
using ::amc::testing::RandomLinear;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

LayerWeights Linear(int64_t outputs, std::vector<float> values) {
  LayerWeights layer;
  layer.name = "fc";
  layer.form = LayerForm::kGemm;
  layer.outputs = outputs;
  layer.channels = static_cast<int64_t>(values.size()) / outputs;
  layer.conv.in_channels = layer.channels;
  layer.conv.out_channels = outputs;
  layer.values = std::move(values);
  return layer;
}

// `pattern` over and over.
std::vector<float> Tiled(const std::vector<float>& pattern, size_t size) {
  std::vector<float> values;
  while (values.size() < size) values.insert(values.end(), pattern.begin(), pattern.end());
  return values;
}

// Zeroes the smaller ones of every 4 neighbouring input channels until 2 are left.
LayerWeights TwoOfFour(LayerWeights layer) {
  DenseMatrix matrix = ToMatrix(layer, ColumnOrder::kChannelsLast).value();
  for (size_t i = 0; i < matrix.values.size(); i += 4) {
    const auto group = matrix.values.begin() + static_cast<int64_t>(i);
    std::vector<float> magnitudes = {std::fabs(group[0]), std::fabs(group[1]), std::fabs(group[2]),
                                     std::fabs(group[3])};
    std::sort(magnitudes.begin(), magnitudes.end());
    for (int k = 0; k < 4; ++k) {
      if (std::fabs(group[k]) <= magnitudes[1]) group[k] = 0;
    }
  }
  return WithMatrix(layer, matrix, ColumnOrder::kChannelsLast).value();
}

template <typename T>
std::vector<T> Elements(const std::string& file, const std::string& tensor) {
  return CopyElements<T>(ParseSafetensors(file)->tensors.at(tensor));
}

TEST(Nvidia24Test, NibblesAreThoseOfThePaperAndOfPyTorch) {
  const auto nibble = [](const char* group) {
    uint32_t mask = 0;
    for (int i = 0; i < 4; ++i) mask |= static_cast<uint32_t>(group[i] - '0') << i;
    const auto found = NibbleOf(mask);
    return found ? int{*found} : -1;
  };
  EXPECT_EQ(nibble("1100"), 0x4);
  EXPECT_EQ(nibble("1010"), 0x8);
  EXPECT_EQ(nibble("0110"), 0x9);
  EXPECT_EQ(nibble("1001"), 0xC);
  EXPECT_EQ(nibble("0101"), 0xD);
  EXPECT_EQ(nibble("0011"), 0xE);
  EXPECT_EQ(nibble("0000"), 0xE);
  EXPECT_EQ(nibble("1000"), 0xC);
  EXPECT_EQ(nibble("0100"), 0xD);
  EXPECT_EQ(nibble("0010"), 0xE);
  EXPECT_EQ(nibble("0001"), 0xE);
  for (const char* full : {"1110", "1101", "1011", "0111", "1111"}) EXPECT_EQ(nibble(full), -1);
  int valid = 0;
  for (int n = 0; n < 256; ++n) valid += KeptBy(static_cast<uint8_t>(n)).has_value();
  EXPECT_EQ(valid, 6);
  EXPECT_THAT(*KeptBy(0xC), ElementsAre(0, 3));
}

TEST(Nvidia24Test, TiledHalvesGiveEEEE) {
  const LayerWeights layer = Linear(32, Tiled({0, 0, 1, 1}, 32 * 64));
  const std::string fp16 = Nvidia24Backend().Write(layer).value();
  EXPECT_THAT(Elements<uint16_t>(fp16, "metadata"), SizeIs(32 * 4));
  EXPECT_THAT(Elements<uint16_t>(fp16, "metadata"), Each(0xEEEE));
  EXPECT_THAT(Elements<uint16_t>(fp16, "metadata_cutlass"), Each(0xEEEE));
  EXPECT_THAT(Elements<uint16_t>(fp16, "values"), SizeIs(32 * 32));
  EXPECT_THAT(Elements<uint16_t>(fp16, "values"), Each(0x3c00));
  const std::string int8 = MakeNvidia24Backend(Nvidia24Type::kInt8)->Write(layer).value();
  EXPECT_THAT(Elements<uint32_t>(int8, "metadata"), SizeIs(32 * 2));
  EXPECT_THAT(Elements<uint32_t>(int8, "metadata"), Each(0xEEEEEEEEu));
  EXPECT_THAT(Elements<int8_t>(int8, "values"), Each(127));
}

// Groups from the lowest bits on; what the row does not fill counts as empty groups.
TEST(Nvidia24Test, WordsBeginWithTheFirstGroup) {
  const std::vector<float> row = {1, 2, 0, 0, 3, 0, 4, 0, 0, 5, 6, 0, 7, 0, 0, 8, 0, 9, 0, 10};
  const std::string fp16 = Nvidia24Backend().Write(Linear(1, row)).value();
  EXPECT_THAT(Elements<uint16_t>(fp16, "metadata"), ElementsAre(0xC984, 0xEEED));
  std::vector<float> values;
  for (const uint16_t bits : Elements<uint16_t>(fp16, "values"))
    values.push_back(Fp16ToFloat(bits));
  EXPECT_THAT(values, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  const std::string int8 = MakeNvidia24Backend(Nvidia24Type::kInt8)->Write(Linear(1, row)).value();
  EXPECT_THAT(Elements<uint32_t>(int8, "metadata"), ElementsAre(0xEEEDC984u));
}

// Which of 32 x 4 words comes where, as PyTorch's conversion gives it.
TEST(Nvidia24Test, CutlassOrderIsPyTorchs) {
  std::vector<uint32_t> words(32 * 4);
  std::iota(words.begin(), words.end(), 0u);
  std::vector<uint32_t> reordered = ReorderForCutlass(words, 32, 16);
  reordered.resize(16);
  EXPECT_THAT(reordered, ElementsAre(0, 32, 1, 33, 64, 96, 65, 97, 4, 36, 5, 37, 68, 100, 69, 101));
}

// The same order from the other side: which word a place takes. In a group of g rows, place i has
// row (i mod w) * 8 + i / w, w = g / 8; in each 2 x 2 square the corners beside the diagonal
// change places; columns lie in pairs.
TEST(Nvidia24Test, CutlassOrderEqualsAGather) {
  for (const int word_bits : {16, 32}) {
    const int64_t g = word_bits == 16 ? 32 : 16, w = g / 8;
    for (const int64_t rows : {g, 3 * g}) {
      for (const int64_t columns : {2, 4, 10}) {
        std::vector<uint32_t> words(rows * columns);
        std::iota(words.begin(), words.end(), 0u);
        const std::vector<uint32_t> reordered = ReorderForCutlass(words, rows, word_bits);
        for (int64_t place = 0; place < rows * columns; ++place) {
          int64_t r = place % (2 * rows) / 2, c = place / (2 * rows) * 2 + place % 2;
          if (r % 2 != c % 2) {
            r ^= 1;
            c ^= 1;
          }
          const int64_t i = r % g;
          const int64_t row = r - i + i % w * 8 + i / w;
          ASSERT_EQ(reordered[place], row * columns + c) << word_bits << " " << rows;
        }
      }
    }
  }
}

TEST(Nvidia24Test, LeavesCutlassOutWhereItsKernelsCannotRun) {
  const auto reason = [](int64_t rows, int64_t columns, Nvidia24Type type) {
    const LayerWeights layer = Linear(rows, std::vector<float>(rows * columns));
    const std::string file = MakeNvidia24Backend(type)->Write(layer).value();
    const Safetensors content = ParseSafetensors(file).value();
    EXPECT_EQ(content.tensors.contains("metadata_cutlass"),
              content.metadata.at("cutlass") == "yes");
    return content.metadata.at("cutlass");
  };
  EXPECT_EQ(reason(32, 64, Nvidia24Type::kFp16), "yes");
  EXPECT_EQ(reason(16, 64, Nvidia24Type::kFp16), "16 rows are no multiple of 32");
  EXPECT_EQ(reason(32, 32, Nvidia24Type::kBf16), "32 columns are no multiple of 64");
  EXPECT_EQ(reason(16, 128, Nvidia24Type::kInt8), "yes");
  EXPECT_EQ(reason(16, 64, Nvidia24Type::kInt8), "64 columns are no multiple of 128");
}

// Of a convolution the groups run over input channels at one kernel position.
TEST(Nvidia24Test, GroupsAreInputChannelsAtAKernelPosition) {
  Rng rng(1);
  LayerWeights conv = RandomConv({.outputs = 2, .channels = 4, .kernel = {1, 2}}, 0, rng);
  // Output 1: channels 0 and 1 at both positions, neighbours in the file.
  conv.values = {0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0};
  ASSERT_TRUE(Nvidia24Backend().CheckEligible(conv).ok());
  EXPECT_THAT(Nvidia24Backend().Read(Nvidia24Backend().Write(conv).value())->values,
              ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 2, 4, 0, 0));
  // Channels 0, 1 and 3 at position 1.
  conv.values[15] = 5;
  EXPECT_EQ(Nvidia24Backend().CheckEligible(conv).message(),
            "layer conv: output 1, kernel position (0, 1), inputs 0 to 3: over 2 weights of 4 are "
            "not zero, as in 1 of 4 groups");
}

TEST(Nvidia24Test, RefusesWhatTheHardwareCannotRun) {
  Rng rng(2);
  const auto reason = [](const LayerWeights& layer, Nvidia24Type type = Nvidia24Type::kFp16) {
    const absl::Status status = MakeNvidia24Backend(type)->CheckEligible(layer);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    return std::string(status.message());
  };
  EXPECT_EQ(reason(RandomConv({.outputs = 4, .channels = 4, .groups = 2}, 0, rng)),
            "layer conv: 2 convolution groups, want 1");
  EXPECT_EQ(reason(RandomConv({.outputs = 4, .channels = 3}, 0, rng)),
            "layer conv: 3 input channels are no multiple of 4");
  EXPECT_THAT(reason(RandomLinear(8, 64, 1, rng)), HasSubstr("as in 128 of 128 groups"));
  EXPECT_EQ(reason(Linear(1, {0, 65520, 0, 0})),
            "layer fc: weight 1 is 65520, which fp16 cannot hold");
  EXPECT_TRUE(Nvidia24Backend().CheckEligible(Linear(1, {0, 65519, 0, 0})).ok());
  EXPECT_TRUE(
      MakeNvidia24Backend(Nvidia24Type::kBf16)->CheckEligible(Linear(1, {0, 65520, 0, 0})).ok());
  EXPECT_THAT(reason(Linear(1, {0, INFINITY, 0, 0}), Nvidia24Type::kInt8), HasSubstr("is inf"));
  // Halfway between the largest finite number and the next power of two, and just before.
  EXPECT_THAT(reason(Linear(1, {0, -0x1.FFp127f, 0, 0}), Nvidia24Type::kBf16),
              HasSubstr("which bf16 cannot hold"));
  for (const auto& [type, largest] :
       {std::pair(Nvidia24Type::kFp16, std::nextafter(65520.0f, 0.0f)),
        std::pair(Nvidia24Type::kBf16, std::nextafter(0x1.FFp127f, 0.0f))}) {
    const auto backend = MakeNvidia24Backend(type);
    EXPECT_TRUE(backend->Read(backend->Write(Linear(1, {0, largest, 0, 0})).value()).ok());
  }
  EXPECT_THAT(reason(Linear(1, {0, NAN, 0, 0})), HasSubstr("is nan"));
}

TEST(Nvidia24Test, RoundsToEachType) {
  const LayerWeights layer = Linear(2, {0, 1.0f / 3, 0, -100, 0, 0, 0, 1e-3f});
  const auto read = [&](Nvidia24Type type) {
    const auto backend = MakeNvidia24Backend(type);
    return backend->Read(backend->Write(layer).value())->values;
  };
  EXPECT_THAT(read(Nvidia24Type::kFp16),
              ElementsAre(0, Fp16ToFloat(0x3555), 0, -100, 0, 0, 0, Fp16ToFloat(0x1419)));
  EXPECT_THAT(read(Nvidia24Type::kBf16),
              ElementsAre(0, Bf16ToFloat(0x3eab), 0, -100, 0, 0, 0, Bf16ToFloat(0x3a83)));
  const std::vector<float> int8 = read(Nvidia24Type::kInt8);
  EXPECT_EQ(int8[1], 0);  // 0.33 of a scale of 100 / 127
  EXPECT_FLOAT_EQ(int8[3], -100);
  EXPECT_FLOAT_EQ(int8[7], 1e-3f);  // another row's scale
}

TEST(Nvidia24Test, EveryTypeReadsAndRunsWhatItWrote) {
  Rng rng(3);
  std::vector<LayerWeights> layers = {Linear(1, {1e-41f, 0, 0, -3e-45f})};
  for (const double density : {0.0, 0.3, 1.0}) {
    layers.push_back(TwoOfFour(RandomLinear(32, 128, density, rng)));
    layers.push_back(
        TwoOfFour(RandomConv({.outputs = 5, .channels = 12, .kernel = {3, 3}}, density, rng)));
  }
  for (const Nvidia24Type type : {Nvidia24Type::kFp16, Nvidia24Type::kBf16, Nvidia24Type::kInt8}) {
    const auto backend = MakeNvidia24Backend(type);
    for (const LayerWeights& layer : layers) {
      const absl::Status status =
          CheckLayerFile(*backend, layer, backend->Write(layer).value()).status();
      EXPECT_TRUE(status.ok()) << status;
    }
  }
}

TEST(Nvidia24Test, CountsBytesOfValuesAndMetadata) {
  const LayerWeights layer = Linear(32, std::vector<float>(32 * 128));
  const LayerInput input{std::vector<float>(128)};
  const BackendCost fp16 = Nvidia24Backend().Cost(layer, input).value();
  EXPECT_EQ(fp16.nonzeros, 32 * 64);
  EXPECT_EQ(fp16.bytes, 32 * 64 * 2 + 32 * 8 * 2);  // 9/16 of dense
  EXPECT_EQ(MakeNvidia24Backend(Nvidia24Type::kInt8)->Cost(layer, input)->bytes,
            32 * 64 + 32 * 4 * 4 + 32 * 4);
}

TEST(Nvidia24Test, RefusesDamagedFiles) {
  const std::string file =
      Nvidia24Backend().Write(Linear(32, Tiled({0, 0, 1, 1}, 32 * 64))).value();
  const auto error = [&](const std::string& tensor, size_t at, char value) {
    Safetensors content = ParseSafetensors(file).value();
    std::string bytes(content.tensors.at(tensor).bytes);
    bytes[at] = value;
    content.tensors[tensor].bytes = bytes;
    return std::string(
        Nvidia24Backend().Read(SerializeSafetensors(content).value()).status().message());
  };
  // Row 1, word 1, second group.
  EXPECT_EQ(error("metadata", 10, '\x0E'),
            "tensor metadata, row 1, entry 1: group 5 has the nibble 0, want two ascending "
            "positions");
  EXPECT_THAT(error("metadata", 10, '\x4E'), HasSubstr("tensor metadata_cutlass, row"));
  EXPECT_THAT(error("metadata_cutlass", 8, '\x4E'),
              HasSubstr("tensor metadata_cutlass, row 1, entry 0: not the word"));
  EXPECT_EQ(error("values", 67, '\x7c'), "tensor values, row 1, entry 1: not a finite number");
}

TEST(Nvidia24Test, SurvivesAnyFile) {
  Rng rng(4);
  for (const Nvidia24Type type : {Nvidia24Type::kFp16, Nvidia24Type::kInt8}) {
    const auto backend = MakeNvidia24Backend(type);
    for (const int64_t columns : {12, 128}) {
      const LayerWeights layer = TwoOfFour(RandomLinear(32, columns, 0.5, rng));
      FuzzReader(backend->Write(layer).value(),
                 [&](const std::string& file) { return backend->Read(file).status(); });
    }
  }
}

}  // namespace
}  // namespace amc
