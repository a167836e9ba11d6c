// Giving up an evaluation: anywhere, soon, and without a trace.
#include <algorithm>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "env/checked_export.h"
#include "env/graph/zoo.h"
#include "env/local_evaluator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;

// A measurement and the network that it is of.
struct Outcome {
  Measurement measurement;
  Graph network;
  bool recalibrated = false;
};

bool SameBits(const Outcome& a, const Outcome& b) {
  const Measurement &m = a.measurement, &n = b.measurement;
  if (m.top1 != n.top1 || m.top5 != n.top5 || m.loss != n.loss || m.kl != n.kl ||
      m.images != n.images || m.cost != n.cost || m.work != n.work ||
      m.infeasible != n.infeasible || a.recalibrated != b.recalibrated ||
      a.network.tensors.size() != b.network.tensors.size()) {
    return false;
  }
  for (size_t t = 0; t < a.network.tensors.size(); ++t) {
    const Tensor &x = a.network.tensors[t], &y = b.network.tensors[t];
    if ((x.data == nullptr) != (y.data == nullptr)) return false;
    if (x.data != nullptr && *x.data != *y.data) return false;
  }
  return true;
}

class InterruptionTest : public ::testing::TestWithParam<Reconstruction> {
 protected:
  InterruptionTest() : pack_(60, 3, 8, 2) {
    TensorId x = builder_.Input({kDynamic, 3, 8, 8});
    x = builder_.Op("Relu", {builder_.BatchNorm(builder_.Conv(x, 6))});
    x = builder_.Op("Relu", {builder_.BatchNorm(builder_.Conv(x, 8))});
    builder_.Head(builder_.Op("Relu", {builder_.Conv(x, 4)}));
    options_.prune.reconstruction_images = 40;
    options_.prune.recalibration_images = 24;
    options_.prune.exec.batch_size = 16;
    options_.prune.criterion = Criterion::kGreedy;
  }

  std::unique_ptr<LocalEvaluator> Make() {
    auto evaluator = LocalEvaluator::Create(builder_.graph, pack_, options_);
    EXPECT_TRUE(evaluator.ok()) << evaluator.status();
    return *std::move(evaluator);
  }

  absl::StatusOr<Outcome> Evaluate(LocalEvaluator& evaluator) {
    std::vector<int64_t> kept;
    for (const PruneGroup& group : evaluator.grouping().groups) kept.push_back(group.channels / 2);
    kept[0] *= 2;  // whole: what comes before the second group is kept between candidates
    Outcome outcome;
    const absl::StatusOr<Measurement> measurement = evaluator.EvaluateOne(
        {MakePolicy(evaluator.grouping(), kept)}, GetParam(), &outcome.network);
    if (!measurement.ok()) return measurement.status();
    outcome.measurement = *measurement;
    outcome.recalibrated = evaluator.recalibrated();
    return outcome;
  }

  // The checks of an evaluation from an evaluator that has seen none before.
  int CountChecks() {
    int checks = 0;
    const auto evaluator = Make();
    const InterruptScope scope([&] { return ++checks, false; });
    EXPECT_TRUE(Evaluate(*evaluator).ok());
    return checks;
  }

  absl::Status InterruptedAt(LocalEvaluator& evaluator, int check) {
    int checks = 0;
    const InterruptScope scope([&] { return ++checks == check; });
    return Evaluate(evaluator).status();
  }

  GraphBuilder builder_;
  RandomPack pack_;
  LocalEvaluatorOptions options_;
};

TEST_P(InterruptionTest, WhereverItComesTheNextEvaluationIsUndisturbed) {
  const absl::StatusOr<Outcome> expected = Evaluate(*Make());
  ASSERT_TRUE(expected.ok()) << expected.status();
  const int checks = CountChecks();
  ASSERT_GT(checks, 30);
  for (int check = 1; check <= checks; check += 1 + checks / 60) {
    const auto evaluator = Make();
    const absl::Status status = InterruptedAt(*evaluator, check);
    ASSERT_EQ(status.code(), absl::StatusCode::kCancelled) << check << ": " << status;
    const absl::StatusOr<Outcome> outcome = Evaluate(*evaluator);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    ASSERT_TRUE(SameBits(*expected, *outcome)) << "check " << check << " of " << checks;
  }
}

TEST_P(InterruptionTest, OneEvaluatorBearsManyInterruptions) {
  const absl::StatusOr<Outcome> expected = Evaluate(*Make());
  ASSERT_TRUE(expected.ok()) << expected.status();
  const auto evaluator = Make();
  const int checks = CountChecks();
  // Each a little further than the one before, until what is kept makes the evaluation shorter.
  int cancelled = 0;
  for (int check = 1; check <= checks; check += 1 + checks / 40) {
    const absl::Status status = InterruptedAt(*evaluator, check);
    ASSERT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    cancelled += status.ok() ? 0 : 1;
  }
  EXPECT_GT(cancelled, 5);
  const absl::StatusOr<Outcome> outcome = Evaluate(*evaluator);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(SameBits(*expected, *outcome));
}

TEST_P(InterruptionTest, EndsAGenerationOfCandidates) {
  const auto evaluator = Make();
  const InterruptScope scope([] { return true; });
  EXPECT_EQ(evaluator->Evaluate({Candidate{}}).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(LocalEvaluator::Create(builder_.graph, pack_, options_).status().code(),
            absl::StatusCode::kCancelled);
}

INSTANTIATE_TEST_SUITE_P(Reconstructions, InterruptionTest,
                         ::testing::Values(Reconstruction::kNone, Reconstruction::kFast,
                                           Reconstruction::kStrong),
                         [](const auto& info) {
                           return std::string(ReconstructionName(info.param));
                         });

// Processor time of this thread: others may keep it waiting.
double ThreadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The longest that `work` computes without asking, as a fraction of the whole.
double LongestGap(const std::function<absl::Status()>& work) {
  const double start = ThreadSeconds();
  double last = start, longest = 0;
  const auto mark = [&] {
    const double now = ThreadSeconds();
    longest = std::max(longest, now - last);
    last = now;
    return false;
  };
  {
    const InterruptScope scope(mark);
    const absl::Status status = work();
    EXPECT_TRUE(status.ok()) << status;
  }
  mark();
  return longest / (last - start);
}

TEST(InterruptionGapTest, LongWorkAsksAllTheTime) {
  constexpr double kShort = 0.2;
  const Graph graph = BuildNetwork("resnet20", {}).value();
  const RandomPack pack(200, 3, 32, 10);
  LocalEvaluatorOptions options;
  options.prune.reconstruction_images = 120;
  std::unique_ptr<LocalEvaluator> evaluator;
  EXPECT_LT(LongestGap([&] {
              auto created = LocalEvaluator::Create(graph, pack, options);
              if (created.ok()) evaluator = *std::move(created);
              return created.status();
            }),
            kShort);
  ASSERT_NE(evaluator, nullptr);
  std::vector<int64_t> kept;
  for (const PruneGroup& group : evaluator->grouping().groups) {
    kept.push_back(group.residual ? group.channels : group.channels / 2);
  }
  const Policy policy = MakePolicy(evaluator->grouping(), kept);
  for (const Reconstruction reconstruction :
       {Reconstruction::kFast, Reconstruction::kNone, Reconstruction::kStrong}) {
    const double gap =
        LongestGap([&] { return evaluator->EvaluateOne({policy}, reconstruction).status(); });
    RecordProperty(std::string(ReconstructionName(reconstruction)), std::to_string(gap));
    EXPECT_LT(gap, kShort) << ReconstructionName(reconstruction);
  }
  EXPECT_LT(LongestGap([&] { return CheckedExport(graph, &pack, {}).status(); }), 0.5);
}

}  // namespace
}  // namespace amc
