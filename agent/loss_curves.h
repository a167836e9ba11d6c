// What cutting each group alone costs in quality: one monotone curve per group over its lattice,
// fitted to sensitivity probes (agent/probes.h).
//
// The loss of a point is the reward of the whole network less the point's own, on the same images.
// Isotonic regression (pool adjacent violators) makes the losses of a group fall as it keeps more;
// between the measured points they follow a power law in u = channels / kept - 1, which is 0 for
// the whole group and which pruning losses of residual networks roughly are linear in. No cut is
// ever free: to every point a hundredth of the average loss per u is added, so that the curves are
// strictly monotone where the noise of few images hides the loss.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "env/cost/lattice.h"

namespace amc {

// One measured point. Losses of infeasible points are not read.
struct LossPoint {
  int32_t group = 0;
  int64_t kept = 0;
  double loss = 0;
  bool infeasible = false;  // counts as ten times the worst loss of all
};

// A value. Thread-compatible.
class LossCurves {
 public:
  // Groups without points get the average loss per u of the others. Several points of the same
  // count are averaged.
  static LossCurves Fit(const Lattice& lattice, absl::Span<const LossPoint> points);
  // All groups alike: loss = u. What is assumed where nothing was measured.
  static LossCurves Prior(const Lattice& lattice);

  size_t num_groups() const { return losses_.size(); }
  // One loss per choice of the group's lattice, strictly falling to 0 for the whole group.
  absl::Span<const double> losses(size_t group) const { return losses_[group]; }
  // Of a count on the lattice.
  double Loss(size_t group, int64_t kept) const;
  // What `kept`, one count per group, would lose if losses added up.
  double Sum(absl::Span<const int64_t> kept) const;

 private:
  explicit LossCurves(const Lattice& lattice);

  std::vector<std::vector<int64_t>> choices_;
  std::vector<std::vector<double>> losses_;
};

}  // namespace amc
