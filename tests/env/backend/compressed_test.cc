#include "env/backend/compressed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "env/backend/safetensors.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LayerWeights Linear(int64_t outputs, int64_t inputs, std::vector<float> values) {
  LayerWeights layer;
  layer.name = "fc";
  layer.form = LayerForm::kGemm;
  layer.outputs = outputs;
  layer.channels = inputs;
  layer.conv.in_channels = inputs;
  layer.conv.out_channels = outputs;
  layer.values = std::move(values);
  return layer;
}

// 0 1 0 0
// 2 0 0 3
LayerWeights Small() { return Linear(2, 4, {0, 1, 0, 0, 2, 0, 0, 3}); }

template <typename T>
std::vector<T> Elements(const std::string& file, const std::string& tensor) {
  return CopyElements<T>(ParseSafetensors(file)->tensors.at(tensor));
}

TEST(CompressedTest, WritesGoldenCsrFile) {
  const std::string header = R"({"__metadata__":{"columns":"4","format":"csr","rows":"2"},)"
                             R"("col":{"dtype":"I64","shape":[3],"data_offsets":[0,24]},)"
                             R"("crow":{"dtype":"I64","shape":[3],"data_offsets":[24,48]},)"
                             R"("values":{"dtype":"F32","shape":[3],"data_offsets":[48,60]}})";
  const std::string file = CsrBackend().Write(Small()).value();
  ASSERT_EQ(file.size(), 8 + (header.size() + 7) / 8 * 8 + 60);
  EXPECT_EQ(file.substr(8, header.size()), header);
  EXPECT_THAT(Elements<int64_t>(file, "crow"), ElementsAre(0, 1, 3));
  EXPECT_THAT(Elements<int64_t>(file, "col"), ElementsAre(1, 0, 3));
  EXPECT_THAT(Elements<float>(file, "values"), ElementsAre(1, 2, 3));
}

TEST(CompressedTest, WritesColumnsAndBlocks) {
  const std::string csc = CscBackend().Write(Small()).value();
  EXPECT_THAT(Elements<int64_t>(csc, "ccol"), ElementsAre(0, 1, 2, 2, 3));
  EXPECT_THAT(Elements<int64_t>(csc, "row"), ElementsAre(1, 0, 1));
  EXPECT_THAT(Elements<float>(csc, "values"), ElementsAre(2, 1, 3));
  EXPECT_EQ(ParseSafetensors(csc)->metadata.at("rows"), "2");

  const std::string bsr = MakeBsrBackend({1, 2})->Write(Small()).value();
  EXPECT_THAT(Elements<int64_t>(bsr, "crow"), ElementsAre(0, 1, 3));
  EXPECT_THAT(Elements<int64_t>(bsr, "col"), ElementsAre(0, 0, 1));
  EXPECT_THAT(Elements<float>(bsr, "values"), ElementsAre(0, 1, 2, 0, 0, 3));
  EXPECT_THAT(ParseSafetensors(bsr)->tensors.at("values").shape, ElementsAre(3, 1, 2));
  // The file says how large blocks are, not the backend that reads it.
  EXPECT_THAT(BsrBackend().Read(bsr)->values, ElementsAre(0, 1, 0, 0, 2, 0, 0, 3));
}

TEST(CompressedTest, CountsWeightsAndBytes) {
  const LayerInput input{std::vector<float>(4)};
  const BackendCost csr = CsrBackend().Cost(Small(), input).value();
  EXPECT_EQ(csr.nonzeros, 3);
  EXPECT_EQ(csr.bytes, 3 * 4 + (3 + 3) * 8);
  EXPECT_EQ(csr.cycles, 0);
  EXPECT_EQ(CscBackend().Cost(Small(), input)->bytes, 3 * 4 + (3 + 5) * 8);
  const BackendCost bsr = MakeBsrBackend({2, 2})->Cost(Small(), input).value();
  EXPECT_EQ(bsr.nonzeros, 8);
  EXPECT_EQ(bsr.bytes, 8 * 4 + (2 + 2) * 8);
}

TEST(CompressedTest, BlocksHaveToDivideTheMatrix) {
  EXPECT_EQ(BsrBackend().CheckEligible(Small()).message(),
            "layer fc: 2 x 4 weights are no multiple of blocks of 4 x 4");
  EXPECT_TRUE(BsrBackend().CheckEligible(Linear(4, 8, std::vector<float>(32))).ok());
  EXPECT_FALSE(BsrBackend().CheckEligible(Linear(4, 6, std::vector<float>(24))).ok());
}

TEST(CompressedTest, RefusesMatricesBeyondTheLimit) {
  LayerWeights layer = Linear(int64_t{1} << 20, 1 << 10, {});
  EXPECT_THAT(std::string(CsrBackend().CheckEligible(layer).message()),
              HasSubstr("layer fc: a matrix of 1048576 x 1024"));
}

TEST(CompressedTest, RefusesFilesOfOthersAndWrongArrays) {
  const std::string file = CsrBackend().Write(Small()).value();
  EXPECT_THAT(std::string(CscBackend().Read(file).status().message()),
              HasSubstr("metadata format: \"csr\", want \"csc\""));
  const auto error = [&](auto change) {
    Safetensors content = ParseSafetensors(file).value();
    change(content);
    return std::string(CsrBackend().Read(SerializeSafetensors(content).value()).status().message());
  };
  EXPECT_THAT(error([](Safetensors&) {}), IsEmpty());
  EXPECT_THAT(error([](Safetensors& c) { c.metadata["rows"] = "3"; }),
              HasSubstr("3 pointers, want 4"));
  EXPECT_THAT(error([](Safetensors& c) { c.metadata["columns"] = "3"; }),
              HasSubstr("row 1, entry 2: column 3, want from 1 to 2"));
  EXPECT_THAT(error([](Safetensors& c) { c.metadata["columns"] = "268435456"; }),
              HasSubstr("a matrix of 2 x 268435456"));
  EXPECT_THAT(error([](Safetensors& c) { c.tensors.erase("col"); }),
              HasSubstr("there is no tensor col"));
  const std::vector<int64_t> swapped = {1, 3, 0};
  EXPECT_THAT(error([&](Safetensors& c) {
                c.tensors["col"] = ViewElements(SafetensorsType::kI64, {3}, swapped);
              }),
              HasSubstr("row 1, entry 2: column 0, want from 4 to 3"));
}

// A file of a few bytes that claims rows without end must not make Run allocate them.
TEST(CompressedTest, BoundsWhatAFileClaims) {
  const std::vector<int64_t> pointers = {0, 0};
  Safetensors content;
  content.metadata = {{"format", "csc"}, {"rows", "268435456"}, {"columns", "1"}};
  content.tensors["ccol"] = ViewElements(SafetensorsType::kI64, {2}, pointers);
  content.tensors["row"] = {SafetensorsType::kI64, {0}, ""};
  content.tensors["values"] = {SafetensorsType::kF32, {0}, ""};
  const std::vector<float> inputs(1000);
  const auto run = CscBackend().Run(SerializeSafetensors(content).value(), inputs, 1000);
  EXPECT_EQ(run.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace amc
