// Scores of a group's channels from the moments of its consumers' features.
//
// Energy: what a channel contributes to its consumers' outputs, sum over consumers of
// E[x^2] * |W_c|^2, each relative to the consumer's whole. Greedy: backward elimination. Taking
// features D out of a least squares fit with covariance A raises its loss by
//   tr(W_D (P_DD)^-1 W_D^T),   P = A^-1,
// where W are the weights fitted so far; then P and W lose D by block elimination (the optimal
// brain surgeon's update, Hassibi and Stork 1993, for whole channels). The channel whose loss,
// summed over the consumers, is least goes first, and the order of going is the score. Nested for
// all counts, so that it is found once per job.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "env/prune/layers.h"
#include "env/prune/torch_moments.h"

namespace amc {

// A layer that reads the group: its moments, its weight as WeightMatrix, and FeatureChannels.
struct ConsumerView {
  const FeatureMoments* moments = nullptr;
  torch::Tensor weight;
  std::vector<ChannelRef> channels;
};

std::vector<double> EnergyScores(absl::Span<const ConsumerView> consumers, size_t group,
                                 int64_t channels);

// Consumers without covariances count with their energy.
absl::StatusOr<std::vector<double>> EliminationScores(absl::Span<const ConsumerView> consumers,
                                                      size_t group, int64_t channels, double ridge);

}  // namespace amc
