// What sparsity costs a trained network, without and with reconstruction.
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "env/exec/evaluate.h"
#include "env/exec/image_folder.h"
#include "env/exec/pack_builder.h"
#include "env/graph/onnx_import.h"
#include "env/prune/network_permutation.h"
#include "env/prune/sparsifier.h"
#include "gtest/gtest.h"
#include "tests/test_data.h"

namespace amc {
namespace {

constexpr int64_t kImages = 2000;

// 3,000 training images to reconstruct from, 2,000 test images for top-1.
absl::StatusOr<std::unique_ptr<DataPack>> MakePack(const std::string& archive,
                                                   const std::string& directory) {
  const std::string command = absl::StrCat("tar xf '", archive, "' -C '", directory, "'");
  if (std::system(command.c_str()) != 0) return absl::InternalError(command);
  ImageFolderOptions folder;
  folder.max_images = 3000;
  const auto train = LoadImageFolder(directory + "/train", folder);
  folder.max_images = kImages + 1;
  const auto test = LoadImageFolder(directory + "/test", folder);
  if (!train.ok()) return train.status();
  if (!test.ok()) return test.status();
  PackOptions options;
  options.reward_images = kImages;
  options.preprocessing = {{0.485F, 0.456F, 0.406F}, {0.229F, 0.224F, 0.225F}};
  const auto contents = BuildPack(*train, *test, options);
  if (!contents.ok()) return contents.status();
  const auto bytes = SerializePack(*contents);
  if (!bytes.ok()) return bytes.status();
  const std::string path = directory + "/cifar.pack";
  if (absl::Status status = WriteFileAtomically(path, *bytes); !status.ok()) return status;
  return DataPack::Open(path);
}

double Top1(const Graph& graph, const DataPack& pack) {
  const auto quality = Evaluate(graph, pack, Split::kReward, {});
  EXPECT_TRUE(quality.ok()) << quality.status();
  return quality.ok() ? 100 * quality->top1 : 0;
}

struct Outcome {
  double masked = 0, fitted = 0;  // top-1, %
};

Outcome Sparsify(Sparsifier& sparsifier, SparseDecision decision, const DataPack& pack) {
  std::vector<SparseDecision> decisions;
  for (const LayerWeights& layer : sparsifier.layers()) {
    decision.target = layer.name;
    if (CountUnits(layer, decision, {}).ok()) decisions.push_back(decision);
  }
  const auto masked = sparsifier.Sparsify(decisions, false, nullptr);
  const auto fitted = sparsifier.Sparsify(decisions, true, nullptr);
  EXPECT_TRUE(masked.ok() && fitted.ok()) << masked.status() << fitted.status();
  if (!masked.ok() || !fitted.ok()) return {};
  const Outcome outcome{Top1(masked->graph, pack), Top1(fitted->graph, pack)};
  std::printf("%s %d of %d: %.2f%% masked, %.2f%% fitted\n",
              std::string(GranularityName(decision.granularity)).c_str(),
              static_cast<int>(decision.kept), static_cast<int>(decision.of), outcome.masked,
              outcome.fitted);
  return outcome;
}

TEST(SparsifierModelsTest, ReconstructionSavesATrainedResNet20) {
  AMC_TEST_DATA_OR_SKIP(data, "");
  const TempDirectory directory = TempDirectory::Create().value();
  const auto pack = MakePack(data + "data/cifar10-jpeg.tar.xz", directory.path());
  ASSERT_TRUE(pack.ok()) << pack.status();
  TuneProcess(1);
  const absl::StatusOr<Graph> graph = LoadOnnx(data + "models/resnet20-cifar10.onnx");
  ASSERT_TRUE(graph.ok()) << graph.status();
  const double dense = Top1(*graph, **pack);
  std::printf("dense: %.2f%%\n", dense);
  EXPECT_GT(dense, 86);
  const auto sparsifier = Sparsifier::Create(*graph, **pack, {});
  ASSERT_TRUE(sparsifier.ok()) << sparsifier.status();

  const Outcome element = Sparsify(**sparsifier, {.kept = 128}, **pack);
  const SparseDecision two_of_four = {.granularity = Granularity::kNM, .kept = 2, .of = 4};
  const Outcome nm = Sparsify(**sparsifier, two_of_four, **pack);
  const Outcome kernel =
      Sparsify(**sparsifier, {.granularity = Granularity::kKernel, .kept = 128}, **pack);
  for (const Outcome& outcome : {element, nm, kernel}) EXPECT_GT(outcome.fitted, outcome.masked);
  EXPECT_GT(nm.fitted, dense - 2);
  EXPECT_GT(element.fitted, dense - 1.5);
  EXPECT_GT(element.fitted, kernel.fitted);  // the freer granularity costs less

  // Another order of the channels lets 2:4 keep more, and the masks alone tell.
  const Grouping grouping = BuildGroups(*graph).value();
  const auto permutation = FindPermutations(*graph, grouping, {});
  ASSERT_TRUE(permutation.ok()) << permutation.status();
  const auto permuted = PermuteChannels(*graph, grouping, permutation->orders);
  ASSERT_TRUE(permuted.ok()) << permuted.status();
  EXPECT_NEAR(Top1(*permuted, **pack), dense, 0.05);
  const auto reordered = Sparsifier::Create(*permuted, **pack, {});
  ASSERT_TRUE(reordered.ok()) << reordered.status();
  const Outcome better = Sparsify(**reordered, two_of_four, **pack);
  EXPECT_GT(better.masked, nm.masked);
  EXPECT_GT(better.fitted, dense - 2);
}

}  // namespace
}  // namespace amc
