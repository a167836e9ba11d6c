#include "env/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/exec/torch_network.h"
//
#include <torch/optim.h>

namespace amc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kStepsBetweenReports = 20;
constexpr int64_t kTestBatch = 64;
constexpr uint64_t kShuffleStream = 1, kAugmentationStream = 2;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

absl::Status CheckOptions(const TrainOptions& options, const ImageSet& train) {
  const auto check = [](bool holds, absl::string_view name, auto value, absl::string_view want) {
    if (holds) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", want ", want));
  };
  AMC_RETURN_IF_ERROR(check(options.epochs >= 1, "epochs", options.epochs, "at least 1"));
  AMC_RETURN_IF_ERROR(check(options.batch_size >= 1 && options.batch_size <= train.size(),
                            "batch size", options.batch_size,
                            absl::StrCat("1 to ", train.size(), ", the training images")));
  AMC_RETURN_IF_ERROR(check(options.learning_rate > 0 && std::isfinite(options.learning_rate),
                            "learning rate", options.learning_rate, "above 0"));
  AMC_RETURN_IF_ERROR(check(
      options.warmup_epochs >= 0 && options.warmup_epochs <= static_cast<double>(options.epochs),
      "warm-up epochs", options.warmup_epochs, "0 to the number of epochs"));
  AMC_RETURN_IF_ERROR(check(options.momentum > 0 && options.momentum < 1, "momentum",
                            options.momentum, "above 0, below 1"));
  AMC_RETURN_IF_ERROR(check(options.weight_decay >= 0 && std::isfinite(options.weight_decay),
                            "weight decay", options.weight_decay, "at least 0"));
  AMC_RETURN_IF_ERROR(check(options.label_smoothing >= 0 && options.label_smoothing < 1,
                            "label smoothing", options.label_smoothing, "in [0, 1)"));
  AMC_RETURN_IF_ERROR(check(options.augmentation.crop_padding >= 0 &&
                                options.augmentation.crop_padding < train.height &&
                                options.augmentation.crop_padding < train.width,
                            "crop padding", options.augmentation.crop_padding,
                            "at least 0 and less than the image's size"));
  return absl::OkStatus();
}

absl::Status CheckImages(const Graph& graph, const ImageSet& images,
                         const Preprocessing& preprocessing, absl::string_view name) {
  if (images.size() == 0) return absl::InvalidArgumentError(absl::StrCat(name, ": no images"));
  const auto channels = static_cast<size_t>(images.channels);
  if (preprocessing.mean.size() != channels || preprocessing.deviation.size() != channels) {
    return absl::InvalidArgumentError(absl::StrCat("preprocessing has ", preprocessing.mean.size(),
                                                   " means and ", preprocessing.deviation.size(),
                                                   " deviations for ", channels, " channels"));
  }
  const Shape shape = {kDynamic, images.channels, images.height, images.width};
  const Tensor& input = graph.tensor(graph.inputs[0]);
  if (!input.shape_known || input.shape != shape) {
    return absl::InvalidArgumentError(
        absl::StrCat("network input ", input.name, " is ",
                     input.shape_known ? ShapeToString(input.shape) : "of unknown shape", ", ",
                     name, " images are ", ShapeToString(shape)));
  }
  const Tensor& output = graph.tensor(graph.outputs[0]);
  const auto classes = static_cast<int64_t>(images.class_names.size());
  if (!output.shape_known || output.shape.size() < 2 || output.shape[1] < classes) {
    return absl::InvalidArgumentError(absl::StrCat("network output ", output.name, " is ",
                                                   ShapeToString(output.shape), ", ", name,
                                                   " images have ", classes, " classes"));
  }
  return absl::OkStatus();
}

// Runs the epochs. One object per call of Train.
class Trainer {
 public:
  Trainer(const ImageSet& train, const ImageSet& test, const Preprocessing& preprocessing,
          const TrainOptions& options, const TrainCallbacks& callbacks,
          std::unique_ptr<TorchNetwork> network)
      : train_(train),
        test_(test),
        options_(options),
        callbacks_(callbacks),
        network_(std::move(network)),
        train_batches_(train, preprocessing, options.augmentation),
        test_batches_(test, preprocessing, {.crop_padding = 0, .flip = false}),
        device_(options.device == Device::kCuda ? at::kCUDA : at::kCPU),
        optimizer_(MakeOptimizer()),
        shuffle_rng_(options.seed, kShuffleStream),
        augmentation_rng_(options.seed, kAugmentationStream),
        steps_per_epoch_(train.size() / options.batch_size) {}

  absl::StatusOr<TrainResult> Run() {
    TrainResult result;
    start_ = Clock::now();
    for (int64_t epoch = 1; epoch <= options_.epochs; ++epoch) {
      absl::StatusOr<EpochSummary> ran = RunEpoch(epoch);
      if (stopped_ && epoch > 1) return result;
      AMC_RETURN_IF_ERROR(ran.status());
      EpochSummary summary = *ran;
      const bool due = options_.test_every > 0 && epoch % options_.test_every == 0;
      if (test_.size() > 0 && (due || epoch == options_.epochs)) {
        AMC_ASSIGN_OR_RETURN(summary.test_accuracy, Test());
        result.test_accuracy = summary.test_accuracy;
      }
      result.epochs.push_back(summary);
      if (callbacks_.should_stop || epoch == options_.epochs) {
        AMC_ASSIGN_OR_RETURN(result.graph, network_->ToGraph());
      }
      if (callbacks_.on_epoch) AMC_RETURN_IF_ERROR(callbacks_.on_epoch(epoch, summary));
    }
    return result;
  }

 private:
  // Two groups of parameters: those with more than one dimension decay, biases and batch norms not.
  torch::optim::SGD MakeOptimizer() const {
    network_->Train(true, options_.batch_norm_momentum);
    std::vector<torch::Tensor> decayed, spared;
    for (const TensorId id : network_->parameters()) {
      const torch::Tensor& parameter = network_->constant(id);
      (parameter.dim() > 1 ? decayed : spared).push_back(parameter);
    }
    torch::optim::SGDOptions settings(options_.learning_rate);
    settings.momentum(options_.momentum).nesterov(true);
    torch::optim::SGDOptions with_decay = settings;
    with_decay.weight_decay(options_.weight_decay);
    std::vector<torch::optim::OptimizerParamGroup> groups;
    groups.emplace_back(decayed, std::make_unique<torch::optim::SGDOptions>(with_decay));
    groups.emplace_back(spared, std::make_unique<torch::optim::SGDOptions>(settings));
    return torch::optim::SGD(std::move(groups), settings);
  }

  // The images `indices` of `images` as tensors on the device.
  std::pair<torch::Tensor, torch::Tensor> MakeBatch(const BatchMaker& maker, const ImageSet& images,
                                                    absl::Span<const int64_t> indices, Rng& rng) {
    maker.Make(indices, rng, pixels_);
    const auto count = static_cast<int64_t>(indices.size());
    const torch::Tensor input = at::from_blob(
        pixels_.data(), {count, images.channels, images.height, images.width}, at::kFloat);
    torch::Tensor labels = at::empty({count}, at::kLong);
    for (int64_t i = 0; i < count; ++i) {
      labels.data_ptr<int64_t>()[i] =
          images.labels[static_cast<size_t>(indices[static_cast<size_t>(i)])];
    }
    return {input.to(device_), labels.to(device_)};
  }

  static double CountHits(const torch::Tensor& logits, const torch::Tensor& labels) {
    return logits.argmax(1).eq(labels).sum().item<double>();
  }

  absl::StatusOr<EpochSummary> RunEpoch(int64_t epoch) {
    const Clock::time_point start = Clock::now();
    const std::vector<int64_t> order = shuffle_rng_.Permutation(train_.size());
    const int64_t total_steps = steps_per_epoch_ * options_.epochs;
    double loss_sum = 0, hits = 0;
    EpochSummary summary;
    for (int64_t step = 0; step < steps_per_epoch_; ++step) {
      stopped_ = callbacks_.should_stop && callbacks_.should_stop();
      if (stopped_) return absl::CancelledError("training was stopped");
      const int64_t done = (epoch - 1) * steps_per_epoch_ + step;
      const double rate = ScheduledLearningRate(options_, done, total_steps, steps_per_epoch_);
      const auto indices =
          absl::MakeConstSpan(order).subspan(static_cast<size_t>(step * options_.batch_size),
                                             static_cast<size_t>(options_.batch_size));
      AMC_RETURN_IF_ERROR(Step(indices, rate, loss_sum, hits));
      summary.loss = loss_sum / static_cast<double>(step + 1);
      summary.accuracy = hits / static_cast<double>((step + 1) * options_.batch_size);
      if (!std::isfinite(summary.loss)) {
        return absl::FailedPreconditionError(
            absl::StrCat("epoch ", epoch, ", step ", step + 1, ": the loss is ", summary.loss,
                         " at learning rate ", rate, ": try a lower one"));
      }
      const bool report = (step + 1) % kStepsBetweenReports == 0 || step + 1 == steps_per_epoch_;
      if (!report || !callbacks_.on_progress) continue;
      const double left = SecondsSince(start_) / static_cast<double>(done + 1) *
                          static_cast<double>(total_steps - done - 1);
      AMC_RETURN_IF_ERROR(
          callbacks_.on_progress({epoch, options_.epochs, step + 1, steps_per_epoch_, rate,
                                  summary.loss, summary.accuracy, left}));
    }
    summary.seconds = SecondsSince(start);
    return summary;
  }

  // One update; adds the batch's mean loss and its hits.
  absl::Status Step(absl::Span<const int64_t> indices, double rate, double& loss_sum,
                    double& hits) {
    for (torch::optim::OptimizerParamGroup& group : optimizer_.param_groups()) {
      static_cast<torch::optim::SGDOptions&>(group.options()).lr(rate);
      for (torch::Tensor& parameter : group.params()) parameter.mutable_grad() = torch::Tensor();
    }
    const auto [input, labels] = MakeBatch(train_batches_, train_, indices, augmentation_rng_);
    AMC_ASSIGN_OR_RETURN(const torch::Tensor logits, network_->Forward(input));
    const torch::Tensor loss =
        at::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::Mean,
                               /*ignore_index=*/-100, options_.label_smoothing);
    loss.backward();
    optimizer_.step();
    loss_sum += loss.item<double>();
    hits += CountHits(logits.detach(), labels);
    return absl::OkStatus();
  }

  absl::StatusOr<double> Test() {
    network_->Train(false, options_.batch_norm_momentum);
    double hits = 0;
    Rng rng(0);  // its draws change nothing here, and training's stream stays untouched
    std::vector<int64_t> indices;
    for (int64_t first = 0; first < test_.size(); first += kTestBatch) {
      indices.clear();
      for (int64_t i = first; i < std::min(first + kTestBatch, test_.size()); ++i) {
        indices.push_back(i);
      }
      const auto [input, labels] = MakeBatch(test_batches_, test_, indices, rng);
      AMC_ASSIGN_OR_RETURN(const torch::Tensor logits, network_->Forward(input));
      hits += CountHits(logits, labels);
    }
    network_->Train(true, options_.batch_norm_momentum);
    return hits / static_cast<double>(test_.size());
  }

  const ImageSet& train_;
  const ImageSet& test_;
  const TrainOptions options_;
  const TrainCallbacks& callbacks_;
  const std::unique_ptr<TorchNetwork> network_;
  const BatchMaker train_batches_, test_batches_;
  const at::Device device_;
  torch::optim::SGD optimizer_;
  Rng shuffle_rng_, augmentation_rng_;
  const int64_t steps_per_epoch_;
  bool stopped_ = false;
  std::vector<float> pixels_;
  Clock::time_point start_;
};

}  // namespace

double ScheduledLearningRate(const TrainOptions& options, int64_t step, int64_t total,
                             int64_t steps_per_epoch) {
  const double warmup = options.warmup_epochs * static_cast<double>(steps_per_epoch);
  const auto position = static_cast<double>(step);
  if (position < warmup) return options.learning_rate * (position + 1) / (warmup + 1);
  const double progress = (position - warmup) / std::max(static_cast<double>(total) - warmup, 1.0);
  return options.learning_rate * 0.5 * (1 + std::cos(M_PI * progress));
}

absl::StatusOr<TrainResult> Train(const Graph& graph, const ImageSet& train, const ImageSet& test,
                                  const Preprocessing& preprocessing, const TrainOptions& options,
                                  const TrainCallbacks& callbacks) {
  AMC_RETURN_IF_ERROR(CheckOptions(options, train));
  AMC_ASSIGN_OR_RETURN(
      std::unique_ptr<TorchNetwork> network,
      TorchNetwork::Create(graph, {.device = options.device, .fold_batch_norm = false}));
  AMC_RETURN_IF_ERROR(CheckImages(graph, train, preprocessing, "training"));
  if (test.size() > 0) AMC_RETURN_IF_ERROR(CheckImages(graph, test, preprocessing, "test"));
  try {
    return Trainer(train, test, preprocessing, options, callbacks, std::move(network)).Run();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("training failed: ", error.what()));
  }
}

}  // namespace amc
