#include "agent/replay_buffer.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// A buffer of transitions numbered from 0, each recognisable in every column.
ReplayBuffer Filled(int64_t capacity, int count) {
  ReplayBuffer buffer(capacity, 2);
  for (int i = 0; i < count; ++i) {
    const auto x = static_cast<float>(i);
    buffer.Add({x, -x}, x / 100, x * 10, {x + 1, -x - 1}, i % 3 == 2);
  }
  return buffer;
}

TEST(ReplayBufferTest, SamplesWholeTransitions) {
  const ReplayBuffer buffer = Filled(50, 30);
  Rng rng(1);
  const TransitionBatch batch = buffer.Sample(20, rng);
  ASSERT_EQ(batch.states.size(), 40u);
  for (size_t i = 0; i < 20; ++i) {
    const float x = batch.states[2 * i];
    EXPECT_EQ(batch.states[2 * i + 1], -x);
    EXPECT_EQ(batch.actions[i], x / 100);
    EXPECT_EQ(batch.rewards[i], x * 10);
    EXPECT_EQ(batch.next_states[2 * i], x + 1);
    EXPECT_EQ(batch.live[i], static_cast<int>(x) % 3 == 2 ? 0 : 1);
  }
}

TEST(ReplayBufferTest, ForgetsTheOldestFirst) {
  const ReplayBuffer buffer = Filled(10, 25);
  EXPECT_EQ(buffer.size(), 10);
  Rng rng(1);
  std::vector<float> rewards = buffer.Sample(10, rng).rewards;
  std::sort(rewards.begin(), rewards.end());
  EXPECT_THAT(rewards, ElementsAre(150, 160, 170, 180, 190, 200, 210, 220, 230, 240));
}

TEST(ReplayBufferTest, DrawsEvenlyAndWithoutReplacementWhereItCan) {
  const ReplayBuffer buffer = Filled(100, 40);
  Rng rng(2);
  std::map<float, int> seen;
  for (int round = 0; round < 2000; ++round) {
    const std::vector<float> rewards = buffer.Sample(10, rng).rewards;
    EXPECT_EQ(std::set<float>(rewards.begin(), rewards.end()).size(), 10u);
    for (const float reward : rewards) ++seen[reward];
  }
  EXPECT_EQ(seen.size(), 40u);
  for (const auto& [reward, count] : seen) EXPECT_NEAR(count, 500, 100) << reward;
}

TEST(ReplayBufferTest, DrawsWithReplacementFromTooFew) {
  const ReplayBuffer buffer = Filled(100, 2);
  Rng rng(3);
  EXPECT_EQ(buffer.Sample(64, rng).rewards.size(), 64u);
}

TEST(ReplayBufferTest, ARestoredBufferGoesOnAlike) {
  for (const int count : {0, 4, 10, 17}) {
    ReplayBuffer buffer = Filled(10, count);
    ByteWriter writer;
    buffer.Save(writer);
    ReplayBuffer restored(10, 2);
    ByteReader reader(writer.bytes());
    ASSERT_TRUE(restored.Read(reader).ok());
    ASSERT_TRUE(reader.Finish().ok());
    for (ReplayBuffer* each : {&buffer, &restored}) each->Add({7, 7}, 0.7f, 7, {8, 8}, true);
    Rng one(4), other(4);
    const TransitionBatch a = buffer.Sample(5, one), b = restored.Sample(5, other);
    EXPECT_EQ(a.states, b.states);
    EXPECT_EQ(a.rewards, b.rewards);
    EXPECT_EQ(a.live, b.live);
  }
}

TEST(ReplayBufferTest, RefusesBytesOfAnotherShapeAndKeepsItsOwn) {
  ReplayBuffer buffer = Filled(10, 3);
  ByteWriter other_capacity, other_state;
  Filled(11, 3).Save(other_capacity);
  ReplayBuffer(10, 3).Save(other_state);
  for (const ByteWriter* writer : {&other_capacity, &other_state}) {
    ByteReader reader(writer->bytes());
    EXPECT_EQ(buffer.Read(reader).code(), absl::StatusCode::kInvalidArgument);
  }
  ByteReader nothing("");
  EXPECT_FALSE(buffer.Read(nothing).ok());
  EXPECT_EQ(buffer.size(), 3);
  Rng rng(1);
  EXPECT_THAT(buffer.Sample(3, rng).rewards, Each(testing::Lt(30)));
}

}  // namespace
}  // namespace amc
