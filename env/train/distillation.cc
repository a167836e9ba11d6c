#include "env/train/distillation.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/exec/evaluate.h"
#include "env/exec/network.h"
#include "env/exec/torch_network.h"
#include "env/train/trainer.h"
//
#include <torch/optim.h>

namespace amc {
namespace {

constexpr int64_t kMostHeldOut = 1000;
constexpr uint64_t kOrderStream = 3;
constexpr double kBatchNormMomentum = 0.1;  // of the running statistics

absl::Status CheckOptions(const DistillOptions& options) {
  const auto need = [](bool fine, absl::string_view name, auto value) {
    return fine ? absl::OkStatus()
                : absl::InvalidArgumentError(absl::StrCat("fine-tuning: ", name, " is ", value));
  };
  AMC_RETURN_IF_ERROR(need(options.steps >= 1, "steps", options.steps));
  AMC_RETURN_IF_ERROR(need(options.batch_size >= 1, "batch size", options.batch_size));
  AMC_RETURN_IF_ERROR(need(options.learning_rate > 0 && std::isfinite(options.learning_rate),
                           "learning rate", options.learning_rate));
  return need(options.momentum > 0 && options.momentum < 1, "momentum", options.momentum);
}

// KL(softmax(reference) || softmax(logits)), mean over rows.
torch::Tensor MeanDivergence(const torch::Tensor& reference, const torch::Tensor& logits) {
  const torch::Tensor log_p = at::log_softmax(reference, 1);
  return (log_p.exp() * (log_p - at::log_softmax(logits, 1))).sum(1).mean();
}

// The images of one step after the other: passes over [0, size), each in an order of its own.
class Batches {
 public:
  Batches(uint64_t seed, int64_t size, int64_t batch_size)
      : rng_(seed, kOrderStream), size_(size), batch_size_(batch_size) {}

  std::vector<int64_t> Next() {
    std::vector<int64_t> images;
    while (static_cast<int64_t>(images.size()) < batch_size_) {
      if (order_.empty()) order_ = rng_.Permutation(size_);
      images.push_back(order_.back());
      order_.pop_back();
    }
    return images;
  }

 private:
  Rng rng_;
  const int64_t size_;
  const int64_t batch_size_;
  std::vector<int64_t> order_;  // the rest of this pass, the next one last
};

}  // namespace

std::vector<float> Distiller::Load(const std::vector<int64_t>& images) const {
  std::vector<float> pixels;
  for (const int64_t image : images) {
    const std::vector<float> one = pack_.Images(Split::kReconstruction, image, 1);
    pixels.insert(pixels.end(), one.begin(), one.end());
  }
  return pixels;
}

int64_t Distiller::held_out() const {
  return std::min(kMostHeldOut, pack_.size(Split::kReconstruction) / 5);
}

int64_t Distiller::learnt() const { return pack_.size(Split::kReconstruction) - held_out(); }

absl::StatusOr<std::vector<float>> Distiller::HeldOutLogits(const Graph& graph) const {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network,
                       Network::Create(graph, options_.exec));
  std::vector<float> logits;
  for (int64_t first = 0; first < held_out(); first += options_.exec.batch_size) {
    const int64_t count = std::min(options_.exec.batch_size, held_out() - first);
    AMC_ASSIGN_OR_RETURN(
        const std::vector<float> rows,
        network->Run(pack_.Images(Split::kReconstruction, learnt() + first, count), count));
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

absl::StatusOr<double> Distiller::HeldOutKl(const Graph& graph) {
  if (held_out() < 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("fine-tuning: no image can be held out of a reconstruction split of ",
                     pack_.size(Split::kReconstruction)));
  }
  if (held_out_logits_.empty()) {
    AMC_ASSIGN_OR_RETURN(held_out_logits_, HeldOutLogits(original_));
  }
  AMC_ASSIGN_OR_RETURN(const std::vector<float> logits, HeldOutLogits(graph));
  return MeanKl(held_out_logits_, logits,
                static_cast<int64_t>(held_out_logits_.size()) / held_out());
}

// Asks the original about the batches of the first pass, which has every image that any step draws.
// An image keeps the answer that it got there, however often it is drawn again: in another batch of
// as many images it would be the same.
absl::Status Distiller::Prepare() {
  if (!answers_.empty()) return absl::OkStatus();
  AMC_RETURN_IF_ERROR(CheckOptions(options_));
  if (learnt() < 1) {
    return absl::InvalidArgumentError("fine-tuning: the reconstruction split is empty");
  }
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network,
                       Network::Create(original_, options_.exec));
  std::vector<std::vector<float>> answers(static_cast<size_t>(learnt()));
  Batches batches(options_.seed, learnt(), options_.batch_size);
  int64_t asked = 0;
  for (int64_t step = 0; step < options_.steps && asked < learnt(); ++step) {
    const std::vector<int64_t> images = batches.Next();
    AMC_ASSIGN_OR_RETURN(const std::vector<float> logits,
                         network->Run(Load(images), options_.batch_size));
    const size_t classes = logits.size() / images.size();
    for (size_t i = 0; i < images.size(); ++i) {
      std::vector<float>& answer = answers[static_cast<size_t>(images[i])];
      if (!answer.empty()) continue;
      const auto row = logits.begin() + static_cast<int64_t>(i * classes);
      answer.assign(row, row + static_cast<int64_t>(classes));
      ++asked;
    }
  }
  answers_ = std::move(answers);
  return absl::OkStatus();
}

absl::StatusOr<Graph> Distiller::Tune(const Graph& graph) {
  AMC_RETURN_IF_ERROR(Prepare());
  AMC_ASSIGN_OR_RETURN(
      const std::unique_ptr<TorchNetwork> network,
      TorchNetwork::Create(graph, {.device = options_.exec.device, .fold_batch_norm = false}));
  const at::Device device(options_.exec.device == Device::kCuda ? at::kCUDA : at::kCPU);
  try {
    network->Train(true, kBatchNormMomentum);
    std::vector<torch::Tensor> parameters;
    for (const TensorId id : network->parameters()) parameters.push_back(network->constant(id));
    torch::optim::SGDOptions settings(options_.learning_rate);
    settings.momentum(options_.momentum).nesterov(true);
    torch::optim::SGD optimizer(parameters, settings);
    TrainOptions schedule;
    schedule.learning_rate = options_.learning_rate;
    schedule.warmup_epochs = 0;
    Batches batches(options_.seed, learnt(), options_.batch_size);
    for (int64_t step = 0; step < options_.steps; ++step) {
      const std::vector<int64_t> images = batches.Next();
      for (torch::optim::OptimizerParamGroup& group : optimizer.param_groups()) {
        static_cast<torch::optim::SGDOptions&>(group.options())
            .lr(ScheduledLearningRate(schedule, step, options_.steps, 1));
      }
      for (torch::Tensor& parameter : parameters) parameter.mutable_grad() = torch::Tensor();
      std::vector<float> pixels = Load(images);
      std::vector<float> answers;
      for (const int64_t image : images) {
        const std::vector<float>& answer = answers_[static_cast<size_t>(image)];
        answers.insert(answers.end(), answer.begin(), answer.end());
      }
      const torch::Tensor input = at::from_blob(
          pixels.data(), {options_.batch_size, pack_.channels(), pack_.height(), pack_.width()},
          at::kFloat);
      const torch::Tensor reference =
          at::from_blob(
              answers.data(),
              {options_.batch_size, static_cast<int64_t>(answers.size()) / options_.batch_size},
              at::kFloat)
              .to(device);
      AMC_ASSIGN_OR_RETURN(const torch::Tensor logits, network->Forward(input));
      MeanDivergence(reference, logits).backward();
      optimizer.step();
    }
    return network->ToGraph();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("fine-tuning failed: ", error.what()));
  }
}

}  // namespace amc
