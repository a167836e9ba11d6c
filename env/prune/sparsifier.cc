#include "env/prune/sparsifier.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "env/prune/layers.h"
#include "env/prune/recalibration.h"
#include "env/prune/torch_fast_reconstruction.h"
#include "env/prune/torch_layer_moments.h"
#include "env/prune/torch_patches.h"
#include "env/prune/torch_sparse_fit.h"

namespace amc {
namespace {

class MagnitudeSparsifier : public Sparsifier {
 public:
  MagnitudeSparsifier(const Graph& graph, const DataPack& pack, const SparsifyOptions& options,
                      std::vector<LayerWeights> weights, std::vector<Layer> layers)
      : graph_(graph),
        pack_(pack),
        options_(options),
        weights_(std::move(weights)),
        layers_(std::move(layers)),
        patterns_(FrequentPatterns(weights_, options.sparsity.patterns)) {
    images_ = std::min(options.reconstruction_images, pack.size(Split::kReconstruction));
    calibration_ = {&pack_, 0, std::min(options.recalibration_images, images_)};
    for (size_t l = 0; l < weights_.size(); ++l) index_of_.emplace(weights_[l].name, l);
  }

  const std::vector<LayerWeights>& layers() const override { return weights_; }
  absl::Status Prepare(const Progress& progress) override;
  absl::StatusOr<SparseNetwork> Sparsify(absl::Span<const SparseDecision> decisions,
                                         bool reconstruct, const Progress& progress) override;

 private:
  absl::Status Fit(const Layer& layer, const FeatureMoments& moments, const SparseMask& mask,
                   Graph& graph) const;
  absl::StatusOr<Graph> Reconstruct(Graph masked, const std::vector<SparseLayer>& sparse,
                                    const Progress& progress);

  const Graph graph_;
  const DataPack& pack_;
  const SparsifyOptions options_;
  const std::vector<LayerWeights> weights_;
  const std::vector<Layer> layers_;
  const std::vector<KernelPattern> patterns_;  // of the whole network, whatever is decided
  std::map<std::string, size_t> index_of_;     // into weights_, by name
  int64_t images_ = 0;                         // of the reconstruction split
  CalibrationSet calibration_;
  bool prepared_ = false;
  std::vector<std::optional<FeatureMoments>> moments_;  // by layer
  std::optional<ReferenceMoments> reference_;           // of the original
};

absl::Status MagnitudeSparsifier::Prepare(const Progress& progress) {
  if (prepared_) return absl::OkStatus();
  if (images_ < 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("the reconstruction split has ", pack_.size(Split::kReconstruction),
                     " images and ", options_.reconstruction_images, " were asked for"));
  }
  AMC_ASSIGN_OR_RETURN(
      std::vector<std::optional<FeatureMoments>> moments,
      MeasureMoments(graph_, layers_, std::vector<bool>(layers_.size(), true), pack_,
                     {images_, options_.samples_per_layer, options_.seed, options_.exec},
                     progress));
  if (calibration_.count > 0) {
    AMC_ASSIGN_OR_RETURN(reference_, MeasureReference(graph_, calibration_, options_.exec));
  }
  moments_ = std::move(moments);
  prepared_ = true;
  return absl::OkStatus();
}

absl::StatusOr<SparseNetwork> MagnitudeSparsifier::Sparsify(
    absl::Span<const SparseDecision> decisions, bool reconstruct, const Progress& progress) {
  SparseNetwork sparse{.graph = graph_};
  std::vector<bool> decided(weights_.size(), false);
  for (const SparseDecision& decision : decisions) {
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    const auto found = index_of_.find(decision.target);
    if (found == index_of_.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("layer ", decision.target, ": no such weight among ", weights_.size()));
    }
    if (decided[found->second]) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", decision.target, ": decided twice"));
    }
    decided[found->second] = true;
    const LayerWeights& layer = weights_[found->second];
    AMC_ASSIGN_OR_RETURN(SparseMask mask,
                         SelectWeights(layer, decision, options_.sparsity, patterns_));
    if (IsDense(decision)) continue;
    AMC_ASSIGN_OR_RETURN(sparse.graph,
                         WithWeights(std::move(sparse.graph), ApplyMask(layer, mask)));
    sparse.layers.push_back({decision.target, std::move(mask)});
  }
  if (sparse.layers.empty() || !reconstruct) return sparse;
  AMC_ASSIGN_OR_RETURN(sparse.graph, Reconstruct(std::move(sparse.graph), sparse.layers, progress));
  return sparse;
}

absl::StatusOr<Graph> MagnitudeSparsifier::Reconstruct(Graph masked,
                                                       const std::vector<SparseLayer>& sparse,
                                                       const Progress& progress) {
  AMC_RETURN_IF_ERROR(Prepare(progress));
  std::map<std::string, const SparseMask*> mask_of;
  for (const SparseLayer& layer : sparse) mask_of.emplace(layer.target, &layer.mask);
  for (size_t l = 0; l < layers_.size(); ++l) {
    const auto mask = mask_of.find(graph_.tensor(layers_[l].weight).name);
    if (mask == mask_of.end() || !moments_[l].has_value()) continue;
    if (!moments_[l]->covariance.defined()) continue;
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    const std::string label = NodeLabel(graph_, graph_.node(layers_[l].node));
    try {
      AMC_RETURN_IF_ERROR(Annotate(Fit(layers_[l], *moments_[l], *mask->second, masked), label));
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrCat(label, ": sparse reconstruction: ", error.what()));
    }
  }
  if (!reference_.has_value()) return masked;
  AMC_ASSIGN_OR_RETURN(Rebuilt rebuilt,
                       RecalibrateAgainst(graph_, Grouping(), ChannelSelection(), *reference_,
                                          masked, calibration_, options_.exec));
  return std::move(rebuilt.graph);
}

// Fits what is left of one layer; what the outputs miss on average goes into the bias or batch
// norm's mean.
absl::Status MagnitudeSparsifier::Fit(const Layer& layer, const FeatureMoments& moments,
                                      const SparseMask& mask, Graph& graph) const {
  LayerWeights weights = weights_[index_of_.at(graph_.tensor(layer.weight).name)];
  const int64_t rows = layer.outputs / layer.groups;
  const torch::Tensor support = torch::tensor(at::ArrayRef<uint8_t>(mask), at::kByte)
                                    .reshape({layer.groups, rows, layer.features});
  const torch::Tensor original =
      torch::tensor(at::ArrayRef<float>(weights.values), at::kFloat).reshape(support.sizes());
  AMC_ASSIGN_OR_RETURN(const SparseFit fit, FitSparse(moments, original, support, options_.ridge,
                                                      layer.has_intercept()));
  const torch::Tensor fitted = fit.weight.to(at::kFloat).contiguous();
  std::copy_n(fitted.data_ptr<float>(), weights.values.size(), weights.values.begin());
  AMC_ASSIGN_OR_RETURN(graph, WithWeights(std::move(graph), weights));
  if (!layer.has_intercept()) return absl::OkStatus();
  const torch::Tensor intercept = fit.intercept.flatten();
  if (layer.bias != TensorId::kNone) return AddToConstant(graph, layer.bias, intercept);
  return AddToConstant(graph, graph.node(layer.batch_norm).inputs[3], -intercept);
}

absl::Status CheckOptions(const SparsifyOptions& options) {
  const auto need = [](bool fine, absl::string_view name, auto value) {
    return fine ? absl::OkStatus()
                : absl::InvalidArgumentError(
                      absl::StrCat("sparsify options: ", name, " is ", value));
  };
  AMC_RETURN_IF_ERROR(need(options.reconstruction_images >= 1, "reconstruction_images",
                           options.reconstruction_images));
  AMC_RETURN_IF_ERROR(
      need(options.samples_per_layer >= 1, "samples_per_layer", options.samples_per_layer));
  AMC_RETURN_IF_ERROR(need(options.recalibration_images >= 0, "recalibration_images",
                           options.recalibration_images));
  AMC_RETURN_IF_ERROR(
      need(std::isfinite(options.ridge) && options.ridge > 0, "ridge", options.ridge));
  return need(options.exec.batch_size >= 1, "batch_size", options.exec.batch_size);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sparsifier>> Sparsifier::Create(const Graph& graph,
                                                               const DataPack& pack,
                                                               const SparsifyOptions& options) {
  AMC_RETURN_IF_ERROR(CheckOptions(options));
  AMC_RETURN_IF_ERROR(CheckSparsityOptions(options.sparsity));
  if (graph.inputs.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the network has ", graph.inputs.size(), " inputs, want 1"));
  }
  const Tensor& input = graph.tensor(graph.inputs[0]);
  const Shape image = {kDynamic, pack.channels(), pack.height(), pack.width()};
  const bool fits = input.shape.size() == 4 &&
                    std::equal(image.begin() + 1, image.end(), input.shape.begin() + 1);
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat("input ", input.name, " is ",
                                                   ShapeToString(input.shape), ", the images are ",
                                                   ShapeToString(image)));
  }
  AMC_ASSIGN_OR_RETURN(std::vector<LayerWeights> weights, ListLayerWeights(graph));
  AMC_ASSIGN_OR_RETURN(std::vector<Layer> layers, ListLayers(graph));
  return std::make_unique<MagnitudeSparsifier>(graph, pack, options, std::move(weights),
                                               std::move(layers));
}

}  // namespace amc
