#include "env/prune/torch_layer_moments.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/prune/limits.h"
#include "env/prune/torch_activations.h"
#include "env/prune/torch_patches.h"

namespace amc {
namespace {

class MomentWalk {
 public:
  MomentWalk(const Graph& graph, const std::vector<Layer>& layers, const std::vector<bool>& wanted,
             const MomentSamples& samples)
      : graph_(graph),
        layers_(layers),
        wanted_(wanted),
        per_image_(std::max<int64_t>(1, samples.positions_a_layer / samples.images)) {
    for (const Layer& layer : layers) {
      sums_.emplace_back(/*diagonal_only=*/layer.features > kMaxRefitFeatures);
      rngs_.emplace_back(samples.seed, Index(layer.node));
    }
  }

  absl::Status AddChunk(TorchActivations& activations, std::vector<torch::Tensor> chunk) {
    activations.SetInput(std::move(chunk));
    size_t node = 0;
    for (size_t l = 0; l < layers_.size(); ++l) {
      if (!wanted_[l]) continue;
      const Layer& layer = layers_[l];
      for (; node < Index(layer.node); ++node) {
        AMC_RETURN_IF_ERROR(activations.Run(graph_.node_id(node)));
      }
      const torch::Tensor input = activations.of(layer.input)[0];
      AMC_RETURN_IF_ERROR(activations.Run(graph_.node_id(node++)));
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      try {
        const torch::Tensor& output = activations.of(graph_.node(layer.node).outputs[0])[0];
        const torch::Tensor positions = SamplePositions(
            output.size(0), PositionsPerImage(output, layer.is_conv), per_image_, rngs_[l]);
        AMC_RETURN_IF_ERROR(
            sums_[l].Add(GatherPatches(layer, input, layer.is_conv ? output.size(2) : 1,
                                       layer.is_conv ? output.size(3) : 1, positions)));
      } catch (const std::exception& error) {
        return absl::InternalError(absl::StrCat(NodeLabel(graph_, graph_.node(layer.node)),
                                                ": normal equations: ", error.what()));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::optional<FeatureMoments>>> Finish() const {
    std::vector<std::optional<FeatureMoments>> finished(layers_.size());
    for (size_t l = 0; l < layers_.size(); ++l) {
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      AMC_ASSIGN_OR_RETURN(FeatureMoments moments, sums_[l].Finish());
      if (moments.samples > 0) finished[l] = std::move(moments);
    }
    return finished;
  }

 private:
  const Graph& graph_;
  const std::vector<Layer>& layers_;
  const std::vector<bool>& wanted_;
  const int64_t per_image_;
  std::vector<MomentAccumulator> sums_;
  std::vector<Rng> rngs_;
};

}  // namespace

absl::StatusOr<std::vector<std::optional<FeatureMoments>>> MeasureMoments(
    const Graph& graph, const std::vector<Layer>& layers, const std::vector<bool>& wanted,
    const DataPack& pack, const MomentSamples& samples,
    const std::function<void(int64_t done, int64_t total)>& progress) {
  const ExecOptions exec = WalkOptions(samples.exec);
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> network,
                       TorchNetwork::Create(graph, exec));
  TorchActivations activations(*network);
  MomentWalk walk(graph, layers, wanted, samples);
  const at::NoGradGuard no_grad;
  for (int64_t first = 0; first < samples.images; first += exec.batch_size) {
    const int64_t count = std::min(exec.batch_size, samples.images - first);
    AMC_ASSIGN_OR_RETURN(std::vector<torch::Tensor> chunk,
                         LoadChunks(pack, Split::kReconstruction, first, count, exec));
    AMC_RETURN_IF_ERROR(walk.AddChunk(activations, std::move(chunk)));
    if (progress) progress(first + count, samples.images);
  }
  return walk.Finish();
}

}  // namespace amc
