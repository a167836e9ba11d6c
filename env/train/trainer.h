// Trains a network, or tunes one further: stochastic gradient descent with Nesterov momentum, a
// linear warm-up and a cosine schedule (Loshchilov and Hutter, ICLR 2017, without restarts), the
// usual recipe for CIFAR-sized networks. Weight decay spares biases and batch norms.
//
// The same arguments, on one thread of the same machine, give the same weights bit by bit.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"
#include "env/train/augmentation.h"

namespace amc {

struct TrainOptions {
  int64_t epochs = 15;
  int64_t batch_size = 128;    // images left over at an epoch's end wait for the next shuffle
  double learning_rate = 0.1;  // the highest; after the warm-up
  double warmup_epochs = 1;    // of linear rise; may be a fraction
  double momentum = 0.9;
  double weight_decay = 5e-4;
  double label_smoothing = 0;  // in [0, 1)
  double batch_norm_momentum = 0.1;
  Augmentation augmentation;
  uint64_t seed = 0;       // of shuffles and augmentation
  int64_t test_every = 1;  // epochs between tests; the last epoch is always followed by one
  Device device = Device::kCpu;
};

struct TrainProgress {
  int64_t epoch = 0, epochs = 0;  // from 1
  int64_t step = 0, steps = 0;    // within the epoch, from 1
  double learning_rate = 0;
  double loss = 0, accuracy = 0;  // of the epoch so far, on training images as augmented
  double seconds_left = 0;        // at the average speed until now
};

struct EpochSummary {
  double loss = 0, accuracy = 0;  // training
  double test_accuracy = -1;      // -1 where no test was made
  double seconds = 0;
};

struct TrainResult {
  Graph graph;                // trained; everything but the weights as it came in
  double test_accuracy = -1;  // top-1 of the last epoch's weights; -1 without test images
  std::vector<EpochSummary> epochs;
};

struct TrainCallbacks {
  // Every 20 steps and at each epoch's end. An error stops the training and is returned.
  std::function<absl::Status(const TrainProgress&)> on_progress;
  std::function<absl::Status(int64_t epoch, const EpochSummary&)> on_epoch;
  // Asked before every step; true ends the training, whose result then is that of the last finished
  // epoch, with fewer `epochs` than were asked for; Cancelled if there is none.
  std::function<bool()> should_stop;
};

// Learning rate of step `step` (from 0) of `total`.
double ScheduledLearningRate(const TrainOptions& options, int64_t step, int64_t total,
                             int64_t steps_per_epoch);

// `graph` gives the architecture and the initial weights; `test` may be empty. InvalidArgument if
// an option makes no sense, or the network and the images do not fit (both sides named);
// FailedPrecondition when the loss stops being finite.
absl::StatusOr<TrainResult> Train(const Graph& graph, const ImageSet& train, const ImageSet& test,
                                  const Preprocessing& preprocessing, const TrainOptions& options,
                                  const TrainCallbacks& callbacks);

}  // namespace amc
