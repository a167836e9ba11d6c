// Control experiments: that a search finds what was planted, learns nothing where there is nothing
// to learn, and never sees the report split. With the real evaluator, on small random networks.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/search.h"
#include "env/amc_env.h"
#include "env/exec/evaluate.h"
#include "env/local_evaluator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"
#include "tests/env/prune/random_pack.h"

namespace amc {
namespace {

using ::amc::testing::GraphBuilder;
using ::amc::testing::RandomPack;

constexpr int64_t kImages = 300, kChannels = 16, kClasses = 2;
constexpr int kPlanted = 2;  // which convolution has every channel twice

// A pack with labels of its own.
class Relabelled : public DataPack {
 public:
  Relabelled(const DataPack& pack, std::vector<int32_t> reward, std::vector<int32_t> report)
      : pack_(pack), reward_(std::move(reward)), report_(std::move(report)) {}

  int64_t channels() const override { return pack_.channels(); }
  int64_t height() const override { return pack_.height(); }
  int64_t width() const override { return pack_.width(); }
  int64_t size(Split split) const override { return pack_.size(split); }
  const std::vector<std::string>& class_names() const override { return pack_.class_names(); }
  const Preprocessing& preprocessing() const override { return pack_.preprocessing(); }
  absl::Span<const int32_t> labels(Split split) const override {
    if (split == Split::kReward) return reward_;
    return split == Split::kReport ? report_ : pack_.labels(split);
  }
  std::vector<float> Images(Split split, int64_t first, int64_t count) const override {
    return pack_.Images(split, first, count);
  }
  absl::Span<const uint8_t> Pixels(Split split, int64_t first, int64_t count) const override {
    return pack_.Pixels(split, first, count);
  }

 private:
  const DataPack& pack_;
  const std::vector<int32_t> reward_, report_;
};

class ControlsTest : public ::testing::Test {
 protected:
  ControlsTest() : pack_(kImages, 3, 10, kClasses) {
    TensorId x = builder_.Input({kDynamic, 3, 10, 10});
    for (int layer = 0; layer < 5; ++layer) {
      x = builder_.Op("Relu", {builder_.Conv(x, kChannels, 3, 1, "conv" + std::to_string(layer))});
    }
    builder_.Head(x);
  }

  // Channel 2i + 1 of the planted convolution becomes a copy of channel 2i.
  void PlantDuplicates() {
    Graph& graph = builder_.graph;
    for (Node& node : graph.nodes) {
      if (node.name != "conv" + std::to_string(kPlanted)) continue;
      for (const size_t input : {1, 2}) {
        Tensor& tensor = graph.tensor(node.inputs[input]);
        std::vector<float> values = *Values<float>(graph, node.inputs[input]);
        const size_t row = values.size() / kChannels;
        for (size_t i = 0; i < kChannels; i += 2) {
          std::copy_n(values.begin() + i * row, row, values.begin() + (i + 1) * row);
        }
        tensor = MakeFloats(tensor.name, tensor.shape, values);
      }
    }
  }

  // What the network itself answers.
  std::vector<int32_t> Answers(Split split) {
    std::vector<float> logits;
    EvaluateOptions options;
    options.logits = &logits;
    EXPECT_TRUE(Evaluate(builder_.graph, pack_, split, options).ok());
    std::vector<int32_t> answers;
    for (size_t i = 0; i < logits.size(); i += kClasses) {
      answers.push_back(logits[i + 1] > logits[i] ? 1 : 0);
    }
    return answers;
  }

  struct Outcome {
    std::vector<EvaluatedEpisode> history;
    EvaluatedEpisode best;
  };
  Outcome Run(const std::string& agent, const DataPack& pack, QualityMetric metric,
              int64_t evaluations, double budget = 0.75) {
    LocalEvaluatorOptions local;
    local.prune.reconstruction_images = 100;
    auto evaluator = LocalEvaluator::Create(builder_.graph, pack, local);
    EXPECT_TRUE(evaluator.ok()) << evaluator.status();
    auto env = AmcEnv::Create(builder_.graph, {.budget = {{.ratio = budget}}});
    EXPECT_TRUE(env.ok()) << env.status();
    SearchOptions options;
    options.agent = agent;
    options.agent_options.reward_images = kImages;
    options.agent_options.probes.images = 100;
    options.agent_options.evolution.screening_images = 100;
    options.episodes = evaluations;
    options.reward.metric = metric;
    options.agent_options.overhead_images = 100;
    auto search = Search::Create(*std::move(env), options);
    EXPECT_TRUE(search.ok()) << search.status();
    Outcome outcome;
    while (!(*search)->done()) {
      const auto generation = (*search)->Draw();
      EXPECT_TRUE(generation.ok()) << generation.status();
      if (generation->empty()) break;
      std::vector<Candidate> candidates;
      for (const Episode& e : *generation) candidates.push_back({e.policy, e.images});
      const auto measured = (*evaluator)->Evaluate(candidates);
      EXPECT_TRUE(measured.ok()) << measured.status();
      const auto evaluated = (*search)->Commit(*generation, *measured);
      EXPECT_TRUE(evaluated.ok()) << evaluated.status();
      outcome.history.insert(outcome.history.end(), evaluated->begin(), evaluated->end());
    }
    EXPECT_TRUE((*search)->best().has_value());
    outcome.best = *(*search)->best();
    return outcome;
  }

  GraphBuilder builder_;
  RandomPack pack_;
};

// Half of a convolution's channels repeat the other half: cutting them costs nothing, cutting any
// other does.
TEST_F(ControlsTest, PlantedDuplicatesAreFoundFirst) {
  PlantDuplicates();
  for (const char* agent : {"sensitivity", "dp", "hybrid"}) {
    const Outcome outcome = Run(agent, pack_, QualityMetric::kNegativeKl, 25);
    const std::vector<Decision>& decisions = outcome.best.episode.policy.decisions;
    ASSERT_EQ(decisions.size(), 5u);
    EXPECT_LE(decisions[kPlanted].kept, kChannels / 2 + 1) << agent;  // one to use up the budget
    for (size_t group = 0; group < decisions.size(); ++group) {
      if (group == kPlanted) continue;
      EXPECT_GT(decisions[group].kept, decisions[kPlanted].kept) << agent << " " << group;
    }
  }
}

// With the network's own answers as labels a search is rewarded for agreeing with it; with the same
// labels in random order there is nothing to find.
TEST_F(ControlsTest, ShuffledRewardLabelsGiveChance) {
  const std::vector<int32_t> answers = Answers(Split::kReward);
  std::vector<int32_t> shuffled = answers;
  Rng rng(3);
  const std::vector<int64_t> order = rng.Permutation(kImages);
  for (size_t i = 0; i < shuffled.size(); ++i) shuffled[i] = answers[order[i]];
  const auto share = [&](int32_t answer) {
    return static_cast<double>(std::count(answers.begin(), answers.end(), answer)) / kImages;
  };
  const std::vector<int32_t> report = Answers(Split::kReport);
  const double honest =
      Run("hybrid", Relabelled(pack_, answers, report), QualityMetric::kTop1, 12).best.reward;
  const double chance =
      Run("hybrid", Relabelled(pack_, shuffled, report), QualityMetric::kTop1, 12).best.reward;
  // The best of some twelve draws may be some standard deviations above what agreement by chance
  // gives.
  const double expected = std::max(share(0), share(0) * share(0) + share(1) * share(1));
  EXPECT_LT(chance, expected + 3.5 * std::sqrt(0.25 / kImages));
  EXPECT_GT(honest, chance + 0.1);
}

TEST_F(ControlsTest, ReportLabelsCannotTouchTheHistory) {
  const std::vector<int32_t> answers = Answers(Split::kReward);
  std::vector<int32_t> report = Answers(Split::kReport);
  const Relabelled good(pack_, answers, report);
  for (int32_t& label : report) label = 1 - label;
  const Relabelled corrupted(pack_, answers, report);
  for (const char* agent : {"hybrid", "ddpg", "evolution"}) {
    const std::vector<EvaluatedEpisode> one = Run(agent, good, QualityMetric::kTop1, 8).history;
    const std::vector<EvaluatedEpisode> other =
        Run(agent, corrupted, QualityMetric::kTop1, 8).history;
    ASSERT_EQ(one.size(), other.size()) << agent;
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_EQ(one[i].episode.policy, other[i].episode.policy) << agent << " " << i;
      EXPECT_EQ(one[i].episode.images, other[i].episode.images) << agent << " " << i;
      EXPECT_EQ(one[i].reward, other[i].reward) << agent << " " << i;
    }
  }
}

}  // namespace
}  // namespace amc
