// What every agent's saved state opens with, and the order in which episodes are learnt or skipped.
//
// Layout (base/bytes.h): "AMCA", version u32, the agent's name, seed u64, the problem's shape
// (features per observation u64, groups u64, steps u64), episodes learnt or skipped i64; then the
// agent's own bytes.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/bytes.h"
#include "env/env.h"

namespace amc {

// Thread-compatible.
class AgentProgress {
 public:
  AgentProgress(std::string name, uint64_t seed, const Environment& env);

  uint64_t seed() const { return seed_; }
  size_t groups() const { return groups_; }
  int64_t done() const { return done_; }  // episodes learnt or skipped

  // InvalidArgument unless `env` has the shape of the one that the agent was made for.
  absl::Status CheckShape(const Environment& env) const;
  // InvalidArgument unless `number` is the next episode to learn from or to skip.
  absl::Status CheckNext(int64_t number) const;
  // And unless `reward` is finite.
  absl::Status CheckNext(int64_t number, double reward) const;
  void Advance() { ++done_; }

  void Save(ByteWriter& writer) const;
  // Reads what Save wrote and returns the episodes done. InvalidArgument for another agent,
  // version, seed or shape. Changes nothing: call set_done once the rest of the bytes has proved
  // good too.
  absl::StatusOr<int64_t> Read(ByteReader& reader) const;
  void set_done(int64_t done) { done_ = done; }

 private:
  std::string name_;
  uint64_t seed_;
  size_t groups_, steps_;
  int64_t done_ = 0;  // episodes learnt or skipped
};

// Streams of random numbers: one per purpose and episode, so that what an episode draws depends on
// nothing that came before it.
enum class RandomPurpose : uint64_t { kInit = 1, kPropose = 2, kLearn = 3 };
inline uint64_t RandomStream(RandomPurpose purpose, int64_t episode = 0) {
  return static_cast<uint64_t>(purpose) << 56 | static_cast<uint64_t>(episode);
}

}  // namespace amc
