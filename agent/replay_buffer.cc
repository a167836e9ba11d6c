#include "agent/replay_buffer.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace amc {

ReplayBuffer::ReplayBuffer(int64_t capacity, int64_t state_size)
    : capacity_(capacity), state_size_(state_size) {
  ring_.states.resize(capacity * state_size);
  ring_.next_states.resize(capacity * state_size);
  ring_.actions.resize(capacity);
  ring_.rewards.resize(capacity);
  ring_.live.resize(capacity);
}

void ReplayBuffer::Add(absl::Span<const float> state, float action, float reward,
                       absl::Span<const float> next_state, bool done) {
  AMC_CHECK(static_cast<int64_t>(state.size()) == state_size_ && next_state.size() == state.size())
      << "states of " << state.size() << " and " << next_state.size() << " numbers, expected "
      << state_size_;
  std::copy(state.begin(), state.end(), ring_.states.begin() + next_ * state_size_);
  std::copy(next_state.begin(), next_state.end(), ring_.next_states.begin() + next_ * state_size_);
  ring_.actions[next_] = action;
  ring_.rewards[next_] = reward;
  ring_.live[next_] = done ? 0.0f : 1.0f;
  next_ = (next_ + 1) % capacity_;
  size_ = std::min(size_ + 1, capacity_);
}

TransitionBatch ReplayBuffer::Sample(int64_t n, Rng& rng) const {
  AMC_CHECK(size_ > 0) << "nothing to sample from";
  std::vector<int64_t> chosen(n);
  if (n <= size_) {
    // The first n places of a Fisher-Yates shuffle.
    std::vector<int64_t> order(size_);
    std::iota(order.begin(), order.end(), 0);
    for (int64_t i = 0; i < n; ++i) {
      std::swap(order[i], order[i + static_cast<int64_t>(rng.Below(size_ - i))]);
    }
    std::copy_n(order.begin(), n, chosen.begin());
  } else {
    for (int64_t& index : chosen) index = static_cast<int64_t>(rng.Below(size_));
  }
  TransitionBatch batch;
  for (const int64_t i : chosen) {
    const auto state = ring_.states.begin() + i * state_size_;
    const auto next_state = ring_.next_states.begin() + i * state_size_;
    batch.states.insert(batch.states.end(), state, state + state_size_);
    batch.next_states.insert(batch.next_states.end(), next_state, next_state + state_size_);
    batch.actions.push_back(ring_.actions[i]);
    batch.rewards.push_back(ring_.rewards[i]);
    batch.live.push_back(ring_.live[i]);
  }
  return batch;
}

void ReplayBuffer::Save(ByteWriter& writer) const {
  writer.I64(capacity_);
  writer.I64(state_size_);
  writer.I64(size_);
  writer.I64(next_);
  for (const auto* column :
       {&ring_.states, &ring_.actions, &ring_.rewards, &ring_.next_states, &ring_.live}) {
    const int64_t width = static_cast<int64_t>(column->size()) / capacity_;
    writer.Floats(absl::MakeConstSpan(*column).first(size_ * width));
  }
}

absl::Status ReplayBuffer::Read(ByteReader& reader) {
  const int64_t capacity = reader.I64(), state_size = reader.I64();
  const int64_t size = reader.I64(), next = reader.I64();
  if (capacity != capacity_ || state_size != state_size_) {
    return absl::InvalidArgumentError(absl::StrCat("replay buffer: saved with capacity ", capacity,
                                                   " and states of ", state_size, ", expected ",
                                                   capacity_, " and ", state_size_));
  }
  if (size < 0 || size > capacity_ || next != (size < capacity_ ? size : next % capacity_) ||
      next < 0) {
    return absl::InvalidArgumentError(absl::StrCat("replay buffer: ", size, " transitions of ",
                                                   capacity_, ", the next at ", next));
  }
  TransitionBatch ring;
  for (auto [column, width] : {std::pair(&ring.states, state_size_),
                               {&ring.actions, int64_t{1}},
                               {&ring.rewards, int64_t{1}},
                               {&ring.next_states, state_size_},
                               {&ring.live, int64_t{1}}}) {
    *column = reader.Floats();
    if (static_cast<int64_t>(column->size()) != size * width) {
      return absl::InvalidArgumentError(absl::StrCat("replay buffer: a column of ", column->size(),
                                                     " numbers, expected ", size * width));
    }
    column->resize(capacity_ * width);
  }
  ring_ = std::move(ring);
  size_ = size;
  next_ = next;
  return absl::OkStatus();
}

}  // namespace amc
