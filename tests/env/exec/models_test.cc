// The trained ResNets of AMC_TEST_DATA reach the accuracy that PyTorch measured.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "env/exec/evaluate.h"
#include "env/exec/image_folder.h"
#include "env/graph/onnx_import.h"
#include "gtest/gtest.h"
#include "tests/test_data.h"

namespace amc {
namespace {

// All 10,000 test images as the report split of a pack.
absl::StatusOr<std::unique_ptr<DataPack>> MakeTestPack(const std::string& archive,
                                                       const std::string& directory) {
  const std::string command = absl::StrCat("tar xf '", archive, "' -C '", directory, "' test");
  if (std::system(command.c_str()) != 0) return absl::InternalError(command);
  absl::StatusOr<ImageSet> images = LoadImageFolder(directory + "/test", {});
  if (!images.ok()) return images.status();
  PackContents contents;
  contents.split_sizes[static_cast<int>(Split::kReport)] = images->size();
  contents.images = *std::move(images);
  contents.preprocessing = {{0.485F, 0.456F, 0.406F}, {0.229F, 0.224F, 0.225F}};
  const std::string path = directory + "/test.pack";
  const absl::StatusOr<std::string> bytes = SerializePack(contents);
  if (!bytes.ok()) return bytes.status();
  if (absl::Status status = WriteFileAtomically(path, *bytes); !status.ok()) return status;
  return DataPack::Open(path);
}

TEST(ModelsTest, AccuracyEqualsPyTorchs) {
  AMC_TEST_DATA_OR_SKIP(data, "");
  const TempDirectory directory = TempDirectory::Create().value();
  const auto pack = MakeTestPack(data + "data/cifar10-jpeg.tar.xz", directory.path());
  ASSERT_TRUE(pack.ok()) << pack.status();
  ASSERT_EQ((*pack)->size(Split::kReport), 10000);
  TuneProcess(0);
  for (const auto& [model, top1] :
       {std::pair<std::string, double>{"resnet20", 0.8837}, {"resnet56", 0.8988}}) {
    SCOPED_TRACE(model);
    std::vector<float> logits[2];
    for (const bool folded : {false, true}) {
      const std::string path =
          absl::StrCat(data, "models/", model, "-cifar10", folded ? "-folded" : "", ".onnx");
      const absl::StatusOr<Graph> graph = LoadOnnx(path);
      ASSERT_TRUE(graph.ok()) << graph.status();
      EvaluateOptions options;
      options.logits = &logits[folded ? 1 : 0];
      const absl::StatusOr<Quality> quality = Evaluate(*graph, **pack, Split::kReport, options);
      ASSERT_TRUE(quality.ok()) << quality.status();
      EXPECT_NEAR(quality->top1, top1, 0.003) << path;
    }
    // Our folding and the exporter's are the same network.
    float largest = 0, difference = 0;
    ASSERT_EQ(logits[0].size(), logits[1].size());
    for (size_t i = 0; i < logits[0].size(); ++i) {
      largest = std::max(largest, std::abs(logits[0][i]));
      difference = std::max(difference, std::abs(logits[0][i] - logits[1][i]));
    }
    EXPECT_LE(difference, 1e-4 * largest);
  }
}

}  // namespace
}  // namespace amc
