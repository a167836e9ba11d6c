// Short fine-tuning of a pruned network towards what the original answers (Hinton et al.,
// "Distilling the knowledge in a neural network", 2015, at temperature 1): a few steps of
// stochastic gradient descent with Nesterov momentum down the KL divergence to the original's
// outputs, which is also what candidates are compared by. It needs no labels. The rate falls from
// its first value along half a cosine.
//
// Batch norms are in training mode. On ResNet-20 with half the channels inside blocks, 40 steps at
// rate 0.01 take a fast reconstruction's KL from 0.62 to 0.45; with frozen statistics to 0.46, but
// a little further on (rate 0.03, a third of the channels, a strong reconstruction) weights were no
// longer finite. Normalising by the batch bounds what a step can do to later layers.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"

namespace amc {

struct DistillOptions {
  int64_t steps = 0;
  double learning_rate = 0.01;  // of the first step
  int64_t batch_size = 64;
  double momentum = 0.9;
  uint64_t seed = 0;      // of the order of images
  ExecOptions exec = {};  // device; and how the original runs
};

// What every network that is made of one original learns from: the same batches of the
// reconstruction split in the same order, with the original's answers. Thread-compatible.
class Distiller {
 public:
  // `original` and `pack` must outlive it. Runs nothing yet.
  Distiller(const Graph& original, const DataPack& pack, const DistillOptions& options)
      : original_(original), pack_(pack), options_(options) {}

  // `graph` after the steps, on float32. The first call asks the original, once for all, about the
  // images that the steps will use: its time and memory are bounded by the split, whatever their
  // number. A function of the constructor's arguments and `graph`, bit for bit on one thread. A
  // loss that is not finite makes weights that are not: the network's logits will tell.
  // InvalidArgument if an option makes no sense or the reconstruction split is empty; errors of
  // TorchNetwork; Cancelled by an InterruptScope (base/interrupt.h), and then it keeps nothing
  // half-done.
  absl::StatusOr<Graph> Tune(const Graph& graph);

  // How far `graph` is from the original on images that no step learns from, in nats: mean
  // KL(original || graph) over the last fifth of the split, at most 1,000 images. Errors as Tune.
  absl::StatusOr<double> HeldOutKl(const Graph& graph);

  // How many images pass a network in Tune, forward and backward, and in HeldOutKl.
  int64_t images() const { return options_.steps * options_.batch_size; }
  int64_t held_out() const;

 private:
  int64_t learnt() const;  // images of the split that steps may draw
  absl::Status Prepare();
  std::vector<float> Load(const std::vector<int64_t>& images) const;
  absl::StatusOr<std::vector<float>> HeldOutLogits(const Graph& graph) const;

  const Graph& original_;
  const DataPack& pack_;
  const DistillOptions options_;
  std::vector<std::vector<float>> answers_;  // the original's logits by image, once prepared
  std::vector<float> held_out_logits_;       // the original's, once asked
};

}  // namespace amc
