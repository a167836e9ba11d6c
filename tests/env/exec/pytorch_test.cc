// Small networks of every kind give PyTorch's outputs, batch norms folded or not.
#include "tests/golden/pytorch.h"
#include "env/graph/onnx_import.h"
#include "gtest/gtest.h"
#include "tests/env/exec/run_graph.h"

namespace amc {
namespace {

TEST(PyTorchTest, NetworksGiveItsOutputs) {
  AMC_PYTORCH_OR_SKIP();
  const TempDirectory directory = TempDirectory::Create().value();
  ASSERT_TRUE(testing::RunPyTorch("run", directory.path()));
  for (const std::string name : {"residual", "mobile", "branches"}) {
    SCOPED_TRACE(name);
    const std::string stem = directory.path() + "/" + name;
    const absl::StatusOr<Graph> graph = LoadOnnx(stem + ".onnx");
    ASSERT_TRUE(graph.ok()) << graph.status();
    const std::vector<float> images = testing::ReadValues<float>(stem + ".in");
    const std::vector<float> expected = testing::ReadValues<float>(stem + ".out");
    ASSERT_EQ(expected.size(), 10);
    for (const bool fold : {false, true}) {
      testing::ExpectNear(testing::RunGraph(*graph, images, 2, {.fold_batch_norm = fold}),
                          expected);
    }
  }
}

}  // namespace
}  // namespace amc
