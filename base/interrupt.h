// Giving up a long computation from outside, without threads that die or arguments handed down.
//
//   const InterruptScope scope([&] { return lease_lost.load(); });
//   ... = evaluator.EvaluateOne(...);   // Cancelled soon after lease_lost is set
//
// Whoever starts the work opens a scope; whatever may run long asks now and then, deep inside, on
// the same thread. Without a scope nothing is ever interrupted.
#pragma once

#include <functional>

#include "absl/status/status.h"

namespace amc {

// While it lives, CheckInterrupt on this thread asks `wanted`, which is called often: it must be
// quick, and throw nothing. Scopes nest, and an outer one's wish still counts inside. A local
// variable: the last one opened goes first. Other threads do not see it.
class InterruptScope {
 public:
  explicit InterruptScope(std::function<bool()> wanted);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  friend absl::Status CheckInterrupt();

  const std::function<bool()> wanted_;
  const InterruptScope* const outer_;
};

// Cancelled once a scope around the caller wants an end. Costs a call of `wanted` and no more:
// right for loops whose rounds take microseconds. What returns it must leave everything that
// outlives the call as it was, or fit to start again.
absl::Status CheckInterrupt();

}  // namespace amc
