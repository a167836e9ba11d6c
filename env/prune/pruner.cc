#include "env/prune/pruner.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/exec/evaluate.h"
#include "env/exec/network.h"
#include "env/exec/prefix_cache.h"
#include "env/prune/criterion.h"
#include "env/prune/layers.h"
#include "env/prune/recalibration.h"
#include "env/prune/strong_reconstruction.h"
#include "env/prune/torch_activations.h"
#include "env/prune/torch_elimination.h"
#include "env/prune/torch_fast_reconstruction.h"
#include "env/prune/torch_layer_moments.h"
#include "env/prune/torch_patches.h"
#include "env/prune/torch_sampled_reconstruction.h"

namespace amc {
namespace {

constexpr int64_t kJudgeImages = 1000;  // that recalibrate a strong reconstruction, and judge it
constexpr int64_t kPrefixBytes = int64_t{128} << 20;  // of the original's kept activations

class ChannelPruner : public Pruner {
 public:
  ChannelPruner(const Graph& graph, const Grouping& grouping, const DataPack& pack,
                const PruneOptions& options, std::vector<Layer> layers)
      : graph_(graph),
        grouping_(grouping),
        pack_(pack),
        options_(options),
        layers_(std::move(layers)),
        moments_(layers_.size()),
        scores_(grouping.groups.size()) {
    const int64_t size = pack.size(Split::kReconstruction);
    held_out_ = std::min(kJudgeImages, size / 5);
    images_ = std::min(options.reconstruction_images, size - held_out_);
    calibration_ = {&pack_, 0, std::min(options.recalibration_images, images_)};
    prefix_ =
        std::make_unique<PrefixCache>(graph_, FirstNodes(grouping_), pack_, Split::kReconstruction,
                                      calibration_.count, WalkOptions(options.exec), kPrefixBytes);
  }

  absl::Status Prepare(const Progress& progress) override;
  absl::StatusOr<Graph> Prune(absl::Span<const int64_t> kept, Reconstruction reconstruction,
                              const Progress& progress) override;
  bool recalibrated() const override { return recalibrated_; }
  int64_t work() const override { return work_; }

 private:
  bool CriterionNeedsMoments() const {
    return options_.criterion == Criterion::kActivationEnergy ||
           options_.criterion == Criterion::kGreedy;
  }
  absl::StatusOr<std::vector<double>> Score(size_t group) const;
  absl::StatusOr<ChannelSelection> Select(absl::Span<const int64_t> kept);
  absl::StatusOr<Graph> RecalibrateFast(const ChannelSelection& selection, const Graph& pruned);
  absl::StatusOr<Graph> RecalibrateIfBetter(Graph pruned);
  absl::StatusOr<std::vector<float>> HeldOutLogits(const Graph& graph) const;

  const Graph graph_;
  const Grouping grouping_;
  const DataPack& pack_;
  const PruneOptions options_;
  const std::vector<Layer> layers_;
  int64_t images_ = 0;    // [0, images_) of the reconstruction split are fitted to
  int64_t held_out_ = 0;  // [images_, images_ + held_out_) judge recalibration
  bool prepared_ = false;
  bool recalibrated_ = false;                               // what Prune gave last
  int64_t work_ = 0;                                        // and what it forwarded for it
  std::vector<std::optional<FeatureMoments>> moments_;      // by layer that reads a group
  std::vector<std::optional<std::vector<double>>> scores_;  // by group, found on first need
  CalibrationSet calibration_;                              // of fast reconstruction
  std::optional<ReferenceMoments> reference_;               // of the original
  std::unique_ptr<PrefixCache> prefix_;                     // of the same images
  std::unique_ptr<SampledReconstruction> sampled_;          // on first need
  std::vector<float> held_out_logits_;                      // of the original
};

bool NeedsMoments(Reconstruction reconstruction) {
  return reconstruction == Reconstruction::kFast || reconstruction == Reconstruction::kSampled;
}

absl::Status ChannelPruner::Prepare(const Progress& progress) {
  if (prepared_) return absl::OkStatus();
  std::vector<bool> wanted;  // of layers that read a group
  for (const Layer& layer : layers_) {
    const std::vector<ChannelRef> channels = FeatureChannels(grouping_, layer);
    wanted.push_back(std::any_of(channels.begin(), channels.end(), [](const ChannelRef& channel) {
      return channel.group != ChannelRef::kWhole;
    }));
  }
  AMC_ASSIGN_OR_RETURN(
      moments_, MeasureMoments(graph_, layers_, wanted, pack_,
                               {images_, options_.samples_per_layer, options_.seed, options_.exec},
                               progress));
  prepared_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> ChannelPruner::Score(size_t group) const {
  const PruneGroup& pruned = grouping_.groups[group];
  if (CriterionNeedsMoments()) {
    std::vector<ConsumerView> consumers;
    for (size_t l = 0; l < layers_.size(); ++l) {
      if (!moments_[l].has_value() ||
          std::count(pruned.consumers.begin(), pruned.consumers.end(), layers_[l].node) == 0) {
        continue;
      }
      AMC_ASSIGN_OR_RETURN(const torch::Tensor weight, ConstantTensor(graph_, layers_[l].weight));
      consumers.push_back({&*moments_[l], WeightMatrix(layers_[l], weight),
                           FeatureChannels(grouping_, layers_[l])});
    }
    if (!consumers.empty() && options_.criterion == Criterion::kActivationEnergy) {
      return EnergyScores(consumers, group, pruned.channels);
    }
    if (!consumers.empty()) {
      return EliminationScores(consumers, group, pruned.channels, options_.ridge);
    }
  }
  return WeightNorms(graph_, grouping_, group, options_.criterion == Criterion::kL1 ? 1 : 2);
}

absl::StatusOr<ChannelSelection> ChannelPruner::Select(absl::Span<const int64_t> kept) {
  ChannelSelection selection(kept.size());
  for (size_t g = 0; g < kept.size(); ++g) {
    const PruneGroup& group = grouping_.groups[g];
    if (kept[g] == group.channels) {
      selection[g].resize(static_cast<size_t>(kept[g]));
      std::iota(selection[g].begin(), selection[g].end(), 0);
      continue;
    }
    if (!scores_[g].has_value()) {
      try {
        AMC_ASSIGN_OR_RETURN(scores_[g], Score(g));
      } catch (const std::exception& error) {
        return absl::InternalError(absl::StrCat("group ", group.name, ": ", error.what()));
      }
    }
    selection[g] = SelectChannels(group, *scores_[g], kept[g]);
  }
  return selection;
}

absl::StatusOr<Graph> ChannelPruner::Prune(absl::Span<const int64_t> kept,
                                           Reconstruction reconstruction,
                                           const Progress& progress) {
  recalibrated_ = false;
  work_ = 0;
  AMC_RETURN_IF_ERROR(CheckKept(grouping_, kept));
  bool whole = true;
  for (size_t g = 0; g < kept.size(); ++g) whole &= kept[g] == grouping_.groups[g].channels;
  if (whole) return graph_;
  const bool reads_images = CriterionNeedsMoments() || reconstruction != Reconstruction::kNone;
  if (reads_images && images_ < 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("the reconstruction split has ", pack_.size(Split::kReconstruction),
                     " images and ", options_.reconstruction_images, " were asked for"));
  }
  if (CriterionNeedsMoments() || NeedsMoments(reconstruction)) {
    AMC_RETURN_IF_ERROR(Prepare(progress));
  }
  AMC_ASSIGN_OR_RETURN(const ChannelSelection selection, Select(kept));
  AMC_ASSIGN_OR_RETURN(Graph pruned, Shrink(graph_, grouping_, selection));
  switch (reconstruction) {
    case Reconstruction::kNone:
      return pruned;
    case Reconstruction::kFast:
      AMC_RETURN_IF_ERROR(
          ReconstructFast(graph_, grouping_, layers_, moments_, selection, options_.ridge, pruned));
      return RecalibrateFast(selection, pruned);
    case Reconstruction::kSampled: {
      AMC_RETURN_IF_ERROR(
          ReconstructFast(graph_, grouping_, layers_, moments_, selection, options_.ridge, pruned));
      if (sampled_ == nullptr) {
        sampled_ = std::make_unique<SampledReconstruction>(
            graph_, grouping_, pack_, std::min(options_.sampled_images, images_), options_);
      }
      AMC_ASSIGN_OR_RETURN(Rebuilt sampled, sampled_->Run(selection, pruned, progress));
      work_ += sampled.work;
      return std::move(sampled.graph);
    }
    case Reconstruction::kStrong: {
      AMC_ASSIGN_OR_RETURN(Rebuilt strong, ReconstructStrongly(graph_, grouping_, selection, pruned,
                                                               pack_, images_, options_, progress));
      work_ += strong.work;
      return RecalibrateIfBetter(std::move(strong.graph));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("reconstruction ", static_cast<int>(reconstruction), " is unknown"));
}

absl::StatusOr<Graph> ChannelPruner::RecalibrateFast(const ChannelSelection& selection,
                                                     const Graph& pruned) {
  if (calibration_.count == 0) return pruned;
  if (!reference_.has_value()) {
    AMC_ASSIGN_OR_RETURN(reference_, MeasureReference(graph_, calibration_, options_.exec));
  }
  AMC_ASSIGN_OR_RETURN(const PrefixStart start, prefix_->StartOf(pruned));
  AMC_ASSIGN_OR_RETURN(Rebuilt recalibrated,
                       RecalibrateAgainst(graph_, grouping_, selection, *reference_, pruned,
                                          calibration_, options_.exec, start));
  recalibrated_ = true;
  work_ += recalibrated.work;
  return std::move(recalibrated.graph);
}

// Keeps fresh batch norm statistics where they lower the KL divergence on images that no fit saw.
absl::StatusOr<Graph> ChannelPruner::RecalibrateIfBetter(Graph pruned) {
  const bool has_batch_norm =
      std::any_of(pruned.nodes.begin(), pruned.nodes.end(),
                  [](const Node& node) { return node.op == Op::kBatchNormalization; });
  if (!has_batch_norm || held_out_ == 0 || options_.recalibration_images == 0) return pruned;
  AMC_ASSIGN_OR_RETURN(
      Rebuilt recalibrated,
      Recalibrate(pruned, {&pack_, 0, std::min(kJudgeImages, images_)}, options_.exec));
  if (held_out_logits_.empty()) {
    AMC_ASSIGN_OR_RETURN(held_out_logits_, HeldOutLogits(graph_));
  }
  const int64_t classes = static_cast<int64_t>(held_out_logits_.size()) / held_out_;
  AMC_ASSIGN_OR_RETURN(const std::vector<float> before, HeldOutLogits(pruned));
  AMC_ASSIGN_OR_RETURN(const std::vector<float> after, HeldOutLogits(recalibrated.graph));
  AMC_ASSIGN_OR_RETURN(const int64_t macs, CountMacs(pruned, 0, pruned.nodes.size()));
  work_ += recalibrated.work + 2 * held_out_ * macs;
  const double kl_before = MeanKl(held_out_logits_, before, classes);
  const double kl_after = MeanKl(held_out_logits_, after, classes);
  AMC_LOG(kInfo) << "held-out KL " << kl_before << ", " << kl_after << " after recalibration";
  recalibrated_ = kl_after < kl_before;
  return recalibrated_ ? std::move(recalibrated.graph) : std::move(pruned);
}

absl::StatusOr<std::vector<float>> ChannelPruner::HeldOutLogits(const Graph& graph) const {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network,
                       Network::Create(graph, options_.exec));
  std::vector<float> logits;
  for (int64_t first = 0; first < held_out_; first += options_.exec.batch_size) {
    const int64_t count = std::min(options_.exec.batch_size, held_out_ - first);
    const std::vector<float> images = pack_.Images(Split::kReconstruction, images_ + first, count);
    AMC_ASSIGN_OR_RETURN(const std::vector<float> rows, network->Run(images, count));
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

absl::Status CheckOptions(const PruneOptions& options) {
  const auto need = [](bool fine, absl::string_view name, auto value) {
    return fine ? absl::OkStatus()
                : absl::InvalidArgumentError(absl::StrCat("prune options: ", name, " is ", value));
  };
  AMC_RETURN_IF_ERROR(need(options.reconstruction_images >= 1, "reconstruction_images",
                           options.reconstruction_images));
  AMC_RETURN_IF_ERROR(
      need(options.samples_per_layer >= 1, "samples_per_layer", options.samples_per_layer));
  AMC_RETURN_IF_ERROR(need(options.sampled_images >= 1, "sampled_images", options.sampled_images));
  AMC_RETURN_IF_ERROR(need(options.recalibration_images >= 0, "recalibration_images",
                           options.recalibration_images));
  AMC_RETURN_IF_ERROR(
      need(std::isfinite(options.ridge) && options.ridge > 0, "ridge", options.ridge));
  return need(options.exec.batch_size >= 1, "batch_size", options.exec.batch_size);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Pruner>> Pruner::Create(const Graph& graph, const Grouping& grouping,
                                                       const DataPack& pack,
                                                       const PruneOptions& options) {
  AMC_RETURN_IF_ERROR(CheckOptions(options));
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
  for (const ChannelAxis& axis : grouping.axes) {
    if (Index(axis.tensor) >= graph.tensors.size()) {
      return absl::InvalidArgumentError("the grouping is that of another network");
    }
  }
  AMC_ASSIGN_OR_RETURN(std::vector<Layer> layers, ListLayers(graph));
  return std::make_unique<ChannelPruner>(graph, grouping, pack, options, std::move(layers));
}

}  // namespace amc
