// The last transitions an agent saw, drawn from uniformly.
//
// A transition is (s, a, r, s', done) with the executed action and, in AMC, the final reward of its
// episode. A ring: the newest replaces the oldest.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/bytes.h"
#include "base/rng.h"

namespace amc {

// Transitions as columns, row i of each belonging together; states are row-major.
struct TransitionBatch {
  std::vector<float> states, actions, rewards, next_states;
  std::vector<float> live;  // 1, or 0 where the episode ended
};

// Thread-compatible.
class ReplayBuffer {
 public:
  ReplayBuffer(int64_t capacity, int64_t state_size);

  // Both states have state_size numbers.
  void Add(absl::Span<const float> state, float action, float reward,
           absl::Span<const float> next_state, bool done);

  // `n` transitions: without replacement if there are as many, else with. Requires size() > 0.
  TransitionBatch Sample(int64_t n, Rng& rng) const;

  int64_t size() const { return size_; }
  int64_t capacity() const { return capacity_; }

  void Save(ByteWriter& writer) const;
  // Replaces the content. InvalidArgument, with the content unchanged, if the saved buffer had
  // another capacity or state size.
  absl::Status Read(ByteReader& reader);

 private:
  int64_t capacity_, state_size_;
  int64_t size_ = 0, next_ = 0;  // next_ is where the next one goes
  TransitionBatch ring_;
};

}  // namespace amc
