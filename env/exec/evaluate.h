// Measures a network's quality on a split.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"
#include "env/exec/prefix_cache.h"
#include "env/graph/graph.h"

namespace amc {

// Divides the logits of what is softened (Hinton et al., "Distilling the knowledge in a neural
// network", 2015). Softened divergences hang less on the few images that a network is unsure of:
// they tell candidates apart better where images are few (docs/search.md).
inline constexpr double kSoftTemperature = 2;

struct Quality {
  double top1 = 0, top5 = 0;  // fractions in [0, 1]
  double loss = 0;            // mean cross entropy, nats
  double kl = 0;              // mean KL(reference || network), nats; 0 without reference logits
  double soft_kl = 0;         // the same of outputs softened at kSoftTemperature, times its square
  int64_t images = 0;
  int64_t not_finite = 0;  // images with a logit that is NaN or infinite: loss and kl mean nothing
};

// What became of one image.
struct ImageOutcome {
  bool top1 = false;   // whether the label stands first
  double kl = 0;       // KL(reference || network), nats; 0 without reference logits
  double soft_kl = 0;  // the same of softened outputs
};

struct EvaluateOptions {
  ExecOptions exec;
  int64_t max_images = 0;                         // 0: the whole split
  absl::Span<const float> reference_logits;       // of the original, same images; empty: none
  PrefixStart start;                              // with a cache: one of exactly these images
  std::vector<float>* logits = nullptr;           // out: N x classes, when set
  std::vector<ImageOutcome>* outcomes = nullptr;  // out: one for each image, when set
  std::function<void(int64_t done, int64_t total)> progress;
};

// Mean KL(softmax(reference) || softmax(other)) over rows of `classes` logits, in nats. Both hold
// the same number of rows, at least one.
double MeanKl(absl::Span<const float> reference, absl::Span<const float> other, int64_t classes);

// "the logits of 12 of 5000 reward images are not finite"; empty if they all are.
std::string DescribeNotFinite(const Quality& quality, Split split);

// InvalidArgument when the network's input or class count does not fit the pack (names both);
// Cancelled by an InterruptScope (base/interrupt.h), between nodes of the network.
absl::StatusOr<Quality> Evaluate(const Graph& graph, const DataPack& pack, Split split,
                                 const EvaluateOptions& options);

}  // namespace amc
