#include "env/prune/torch_elimination.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/interrupt.h"
#include "base/status_macros.h"
#include "env/prune/torch_slices.h"

namespace amc {
namespace {

// E[x^2] * |W_c|^2 of every feature of a consumer as fractions of its outputs' energy.
std::vector<double> FeatureEnergies(const ConsumerView& consumer) {
  const torch::Tensor second =
      consumer.moments->variance + consumer.moments->mean * consumer.moments->mean;
  const torch::Tensor norms = consumer.weight.to(at::kDouble).square().sum(1);  // groups x K
  const torch::Tensor energy = (second * norms).flatten().contiguous();
  const double total = energy.sum().item<double>();
  const double* const first = energy.data_ptr<double>();
  std::vector<double> fractions(first, first + energy.numel());
  for (double& fraction : fractions) fraction = total > 0 ? fraction / total : 0;
  return fractions;
}

// One convolution group of one consumer while channels are eliminated from it.
class Problem {
 public:
  // `blocks[c]`: the features that read channel c, possibly none.
  Problem(torch::Tensor inverse, torch::Tensor weight, double total,
          std::vector<std::vector<int64_t>> blocks)
      : inverse_(std::move(inverse)),
        weight_(std::move(weight)),
        total_(total),
        blocks_(std::move(blocks)) {}

  // The rise of the loss without channel `c`, relative to the output's energy.
  double LossWithout(size_t c) const {
    const std::vector<int64_t>& block = blocks_[c];
    const auto size = static_cast<int64_t>(block.size());
    if (size == 0 || total_ <= 0) return 0;
    const int64_t features = inverse_.size(0), outputs = weight_.size(1);
    const double* const inverse = inverse_.data_ptr<double>();
    const double* const weight = weight_.data_ptr<double>();
    // L L^T = P_DD, then |L^-1 W_D|^2.
    std::vector<double> lower(size * size, 0), solved(size * outputs);
    double loss = 0;
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double sum = inverse[block[i] * features + block[j]];
        for (int64_t k = 0; k < j; ++k) sum -= lower[i * size + k] * lower[j * size + k];
        if (i == j) {
          lower[i * size + i] = std::sqrt(std::max(sum, std::numeric_limits<double>::min()));
        } else {
          lower[i * size + j] = sum / lower[j * size + j];
        }
      }
      double* const row = &solved[i * outputs];
      std::copy_n(weight + block[i] * outputs, outputs, row);
      for (int64_t k = 0; k < i; ++k) {
        const double factor = lower[i * size + k];
        const double* const above = &solved[k * outputs];
        for (int64_t m = 0; m < outputs; ++m) row[m] -= factor * above[m];
      }
      const double scale = 1 / lower[i * size + i];
      for (int64_t m = 0; m < outputs; ++m) {
        row[m] *= scale;
        loss += row[m] * row[m];
      }
    }
    return loss / total_;
  }

  // Leaves zeros in the rows and columns of its features.
  absl::Status Eliminate(size_t c) {
    if (blocks_[c].empty()) return absl::OkStatus();
    const torch::Tensor block = torch::tensor(blocks_[c], at::kLong);
    const torch::Tensor columns = inverse_.index_select(1, block);  // K x D
    AMC_ASSIGN_OR_RETURN(const torch::Tensor lower,
                         RidgeCholesky(columns.index_select(0, block), 0));
    const torch::Tensor taken = weight_.index_select(0, block);
    weight_.sub_(columns.matmul(at::cholesky_solve(taken, lower)));
    const torch::Tensor step = at::cholesky_solve(columns.t(), lower);  // D x K
    return ForRowSlices(inverse_.size(0), inverse_.size(1), [&](int64_t first, int64_t count) {
      inverse_.narrow(0, first, count).sub_(columns.narrow(0, first, count).matmul(step));
    });
  }

 private:
  torch::Tensor inverse_;  // K x K, of the covariance of what is left
  torch::Tensor weight_;   // K x outputs, fitted to what is left
  double total_;
  std::vector<std::vector<int64_t>> blocks_;
};

// The problems of a consumer's convolution groups that read `group`.
absl::Status AddProblems(const ConsumerView& consumer, size_t group, int64_t channels, double ridge,
                         std::vector<Problem>& problems) {
  const int64_t features = consumer.weight.size(2);
  const torch::Tensor weight = consumer.weight.to(at::kDouble);
  AMC_ASSIGN_OR_RETURN(const torch::Tensor spread,
                       SlicedProduct(weight, consumer.moments->covariance));
  AMC_ASSIGN_OR_RETURN(const torch::Tensor energies, SlicedProduct(spread, weight.transpose(1, 2)));
  const double total = energies.diagonal(0, 1, 2).sum(1).sum().item<double>();
  for (int64_t g = 0; g < consumer.weight.size(0); ++g) {
    std::vector<std::vector<int64_t>> blocks(static_cast<size_t>(channels));
    bool reads = false;
    for (int64_t f = 0; f < features; ++f) {
      const ChannelRef& channel = consumer.channels[g * features + f];
      if (channel.group != static_cast<int32_t>(group)) continue;
      blocks[channel.index].push_back(f);
      reads = true;
    }
    if (!reads) continue;
    AMC_ASSIGN_OR_RETURN(torch::Tensor covariance, SlicedCopy(consumer.moments->covariance[g]));
    AMC_ASSIGN_OR_RETURN(const torch::Tensor lower, RidgeCholesky(std::move(covariance), ridge));
    AMC_ASSIGN_OR_RETURN(const torch::Tensor inverse, SlicedCholeskyInverse(lower));
    problems.emplace_back(inverse.contiguous(), weight[g].t().contiguous(), total,
                          std::move(blocks));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<double> EnergyScores(absl::Span<const ConsumerView> consumers, size_t group,
                                 int64_t channels) {
  std::vector<double> scores(static_cast<size_t>(channels), 0);
  for (const ConsumerView& consumer : consumers) {
    const std::vector<double> energies = FeatureEnergies(consumer);
    for (size_t f = 0; f < energies.size(); ++f) {
      const ChannelRef& channel = consumer.channels[f];
      if (channel.group == static_cast<int32_t>(group)) scores[channel.index] += energies[f];
    }
  }
  return scores;
}

absl::StatusOr<std::vector<double>> EliminationScores(absl::Span<const ConsumerView> consumers,
                                                      size_t group, int64_t channels,
                                                      double ridge) {
  std::vector<Problem> problems;
  std::vector<double> fixed(static_cast<size_t>(channels), 0);
  for (const ConsumerView& consumer : consumers) {
    if (consumer.moments->covariance.defined()) {
      AMC_RETURN_IF_ERROR(AddProblems(consumer, group, channels, ridge, problems));
      continue;
    }
    const std::vector<double> energies = EnergyScores({&consumer, 1}, group, channels);
    for (size_t c = 0; c < fixed.size(); ++c) fixed[c] += energies[c];
  }
  std::vector<double> scores(static_cast<size_t>(channels), -1);
  for (int64_t gone = 0; gone < channels; ++gone) {
    size_t least = 0;
    double least_loss = std::numeric_limits<double>::infinity();
    for (size_t c = 0; c < scores.size(); ++c) {
      if (scores[c] >= 0) continue;
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      double loss = fixed[c];
      for (const Problem& problem : problems) loss += problem.LossWithout(c);
      if (loss <= least_loss) {  // the higher index goes first on ties
        least = c;
        least_loss = loss;
      }
    }
    scores[least] = static_cast<double>(gone);
    for (Problem& problem : problems) AMC_RETURN_IF_ERROR(problem.Eliminate(least));
  }
  return scores;
}

}  // namespace amc
