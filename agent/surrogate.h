// What a policy will lose, learnt from everything measured so far.
//
// On the scale z = log(loss) the belief is
//
//   z(k) = power * log(offset + sum_g exp(w_g) curve_g(k_g)) + b + sum_g f_g(k_g) + noise,
//
// that is, losses of single groups add up but for what candidates have taught: among others a group
// may matter more or less than alone (w_g), and f_g is a smooth function of its pruned share, a
// Gaussian process on a few eigenfunctions. All unknowns are normal a priori; the logarithm is
// linearised in w, twice (Gauss and Newton), which leaves a linear model (bayes_linear.h). Additive
// functions keep the belief, and samples from it, tables over the lattice (exchange.h). Results on
// fewer images have more noise and an offset of their own. Deviations of unknowns and noise are
// chosen by the marginal likelihood on a small grid.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/bayes_linear.h"
#include "agent/exchange.h"
#include "agent/policy_space.h"
#include "base/rng.h"

namespace amc {

// Thread-compatible; deterministic.
class Surrogate {
 public:
  // `curves` are losses of single groups in any one unit, `offset` what the whole network loses in
  // that unit, and `typical` a policy to centre features at. `levels` are the numbers of images
  // that are measured on, ascending, the last a full evaluation's.
  Surrogate(const PolicySpace& space, GroupTables curves, double offset, const Choice& typical,
            std::vector<int64_t> levels);

  // `loss` is positive; `images` is one of the levels, or counts as the next larger one.
  void Add(const Choice& choice, double loss, int64_t images);
  // Chooses the deviations by what was added so far.
  struct Deviations {
    double amplitude = 0, noise = 0, image_noise = 0;
  };
  Deviations ChooseDeviations();
  // From here on the belief takes in what was added.
  void Fit(const Deviations& deviations);

  // The expected z of a full evaluation, and how far that may be off.
  double Mean(const Choice& choice) const;
  double Deviation(const Choice& choice) const;
  // The expected z of a full evaluation of a policy that was measured on `images` images to `loss`:
  // between the belief and the result, the nearer to the latter the less noise it has.
  double MeanGiven(const Choice& choice, double loss, int64_t images) const;

  // The expectation as an objective, and one drawn from the belief, `temperature` times as far from
  // the expectation as the belief would have it.
  const Objective& Expected() const;
  Objective Draw(double temperature, Rng& rng) const;

 private:
  struct Observation {
    Choice choice;
    double z = 0;
    size_t level = 0;
  };

  size_t Level(int64_t images) const;
  // The logarithm above, and what each group contributes to the sum in it.
  double LogSum(const Choice& choice, std::vector<double>* shares) const;
  std::vector<double> Features(const Choice& choice, size_t level) const;
  // Takes the observations in, linearised at log_weights_.
  void Linearise();
  double FitLinear(const Deviations& deviations);  // returns the log likelihood
  Objective FromWeights(const std::vector<double>& weights) const;

  const PolicySpace& space_;
  const GroupTables curves_;
  const double offset_;
  double scale_ = 0;   // the typical policy's summed curves
  double centre_ = 0;  // its logarithm
  const std::vector<int64_t> levels_;
  // functions_[g][index]: the group's eigenfunctions at a choice.
  std::vector<std::vector<std::vector<double>>> functions_;
  std::vector<Observation> observations_;

  std::vector<double> log_weights_;  // w of every group, where the model is linearised
  BayesLinear model_;
  std::vector<double> noise_;  // by level, as fitted
  Objective expected_;
  double constant_ = 0;  // what the expectation adds to it
};

}  // namespace amc
