#include "env/checked_export.h"

#include <cmath>

#include "env/graph/onnx_export.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;

GraphBuilder SmallNetwork() {
  GraphBuilder builder;
  builder.Head(
      builder.Op("Relu", {builder.BatchNorm(builder.Conv(builder.Input({kDynamic, 3, 8, 8}), 4))}));
  return builder;
}

TEST(CheckedExportTest, GivesWhatTheExporterWroteWithFewImagesAndWithNone) {
  const GraphBuilder builder = SmallNetwork();
  const RandomPack few(3, 3, 8, 2), none(0, 3, 8, 2);
  const std::string expected = *ExportOnnx(builder.graph);
  const DataPack* const packs[] = {&few, &none, nullptr};
  for (const DataPack* const pack : packs) {
    const absl::StatusOr<std::string> bytes = CheckedExport(builder.graph, pack, {});
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, expected);
  }
}

TEST(CheckedExportTest, RefusesANetworkWhoseOutputsAreNotNumbers) {
  GraphBuilder builder;
  const TensorId x = builder.Input({kDynamic, 3, 8, 8});
  const TensorId bad =
      builder.graph.AddTensor(MakeFloats("bad", {1}, std::vector<float>{std::nanf("")}));
  builder.Head(builder.Op("Add", {builder.Conv(x, 4), bad}));
  const absl::Status status = CheckedExport(builder.graph, nullptr, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
}

TEST(CheckedExportTest, RefusesImagesThatDoNotFit) {
  const RandomPack other(4, 3, 10, 2);
  EXPECT_EQ(CheckedExport(SmallNetwork().graph, &other, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace amc
