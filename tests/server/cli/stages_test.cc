// amc history --sensitivity and amc run --stages, but for the server.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/sensitivity.h"
#include "server/cli/stages.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

// A probe of the network with groups a (16 channels) and b (8), one or both cut.
v1::Episode Probe(int64_t kept_a, int64_t kept_b, double kl, int64_t images = 500) {
  v1::Episode episode;
  episode.set_state(v1::EPISODE_STATE_DONE);
  episode.set_kind(v1::EPISODE_KIND_PROBE);
  for (const auto& [group, channels, kept] :
       {std::tuple("a", 16, kept_a), std::tuple("b", 8, kept_b)}) {
    v1::Step& step = *episode.add_steps();
    step.set_group(group);
    step.set_channels(channels);
    step.set_kept(kept);
  }
  episode.mutable_measurement()->set_kl(kl);
  episode.mutable_measurement()->set_images(images);
  return episode;
}

TEST(SensitivityTest, EachGroupHasItsCurve) {
  v1::Episode candidate = Probe(8, 8, 9), infeasible = Probe(2, 8, 9);
  candidate.set_kind(v1::EPISODE_KIND_CANDIDATE);
  infeasible.set_state(v1::EPISODE_STATE_INFEASIBLE);
  const std::vector<SensitivityCurve> curves = SensitivityCurves(
      {Probe(16, 4, 0.04), Probe(4, 8, 0.16), Probe(12, 8, 0.0025, 500), Probe(12, 8, 0.5, 100),
       Probe(16, 8, 0), Probe(8, 4, 3), candidate, infeasible});
  ASSERT_EQ(curves.size(), 2u);
  EXPECT_EQ(curves[0].group, "a");
  EXPECT_EQ(curves[0].channels, 16);
  ASSERT_EQ(curves[0].points.size(), 3u);
  EXPECT_EQ(curves[0].points[0].kept, 16);  // of the whole network
  EXPECT_EQ(curves[0].points[1].kept, 12);
  EXPECT_EQ(curves[0].points[1].measurement.kl(), 0.0025);  // on more images than the other
  EXPECT_EQ(curves[0].points[2].kept, 4);
  EXPECT_EQ(curves[1].group, "b");
  EXPECT_EQ(curves[1].points.size(), 2u);

  const std::string text = SensitivityText(curves);
  EXPECT_THAT(text, HasSubstr(" 75%: 0.0025     25%: 0.16\n"));
  EXPECT_THAT(text, HasSubstr(SparkLine({0.05, 0.4}, 0, 0.4)));
  EXPECT_THAT(text, HasSubstr(SparkLine({0.2}, 0, 0.4) + "  "));

  const std::string json = SensitivityJson(curves);
  const std::string first = json.substr(0, json.find('\n'));
  google::protobuf::Struct parsed;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(first, &parsed).ok()) << first;
  const auto& point = parsed.fields().at("points").list_value().values(2).struct_value().fields();
  EXPECT_EQ(point.at("ratio").number_value(), 0.25);
  EXPECT_EQ(point.at("kl").number_value(), 0.16);
}

TEST(SparkLineTest, HasACellForEachValue) {
  EXPECT_EQ(DisplayWidth(SparkLine({0, 0.5, 1, 2, -1}, 0, 1)), 5u);
  EXPECT_EQ(SparkLine({2}, 0, 1), SparkLine({1}, 0, 1));
  EXPECT_EQ(SparkLine({-1}, 0, 1), SparkLine({0}, 0, 1));
  EXPECT_NE(SparkLine({0}, 0, 1), SparkLine({1}, 0, 1));
  EXPECT_EQ(SparkLine({NAN}, 0, 1), " ");
  EXPECT_EQ(SparkLine({3}, 3, 3), SparkLine({0}, 0, 1));
}

TEST(StagesTest, MustFall) {
  EXPECT_TRUE(CheckStages({0.5}).ok());
  EXPECT_TRUE(CheckStages({0.5, 0.25, 0.1}).ok());
  for (const std::vector<double>& stages : {std::vector<double>{0.25, 0.5}, {0.5, 0.5}}) {
    EXPECT_EQ(ExitCodeOf(CheckStages(stages)), kExitUsage);
  }
  EXPECT_EQ(std::string(CheckStages({0.5, 0.6}).message()),
            "--stages: 0.6 after 0.5, but each stage has to cost less than the one before");
}

TEST(StagesTest, ABudgetMayBeOnAnyResource) {
  v1::JobSpec spec;
  spec.mutable_budget()->set_resource(v1::RESOURCE_ACTIVATION_BYTES);
  v1::Job first;
  first.mutable_original_cost()->set_macs(1000);
  v1::ResourceUse& use = *first.mutable_result()->add_uses();
  use.set_resource(v1::RESOURCE_ACTIVATION_BYTES);
  use.set_original(8'000'000);
  EXPECT_EQ(SpecOfStage(spec, {0.5, 0.25}, 1, &first, &first).budget().absolute(), 2'000'000);

  // Predictions of two networks compare as ratios alone.
  spec.mutable_budget()->set_resource(v1::RESOURCE_LATENCY);
  spec.mutable_latency()->set_table("table");
  const v1::JobSpec stage = SpecOfStage(spec, {0.5, 0.4}, 1, &first, &first);
  EXPECT_EQ(stage.budget().resource(), v1::RESOURCE_LATENCY);
  EXPECT_EQ(stage.budget().ratio(), 0.8);
  EXPECT_FALSE(stage.space().has_channel_multiple());
}

TEST(StagesTest, BudgetsAreOfTheFirstOriginalAndEvaluationsAreShared) {
  v1::JobSpec spec;
  spec.set_name("net");
  spec.set_model("original");
  spec.mutable_search()->set_episodes(20);
  spec.mutable_budget()->set_ratio(0.5);
  spec.mutable_search()->add_learn_from("earlier");
  spec.mutable_search()->mutable_evolution()->mutable_start_policy()->add_decisions();
  const std::vector<double> stages = {0.5, 0.25, 0.1};
  v1::Job first, second;
  first.mutable_original_cost()->set_macs(1003);
  first.mutable_original_cost()->set_params(99);
  first.mutable_result()->set_model("half");
  second.mutable_original_cost()->set_macs(501);
  second.mutable_result()->set_model("quarter");

  const v1::JobSpec one = SpecOfStage(spec, stages, 0, nullptr, nullptr);
  EXPECT_EQ(one.model(), "original");
  EXPECT_EQ(one.budget().ratio(), 0.5);
  EXPECT_EQ(one.search().episodes(), 7);
  EXPECT_EQ(one.name(), "net stage 1");
  EXPECT_EQ(one.search().learn_from_size(), 1);
  EXPECT_TRUE(one.search().evolution().has_start_policy());
  const v1::JobSpec two = SpecOfStage(spec, stages, 1, &first, &first);
  EXPECT_EQ(two.model(), "half");
  EXPECT_EQ(two.budget().absolute(), 250);  // floor(0.25 * 1003)
  EXPECT_EQ(two.search().episodes(), 7);
  EXPECT_EQ(two.search().learn_from_size(), 0);
  EXPECT_FALSE(two.search().evolution().has_start_policy());
  spec.mutable_budget()->set_resource(v1::RESOURCE_PARAMS);
  const v1::JobSpec three = SpecOfStage(spec, stages, 2, &first, &second);
  EXPECT_EQ(three.model(), "quarter");
  EXPECT_EQ(three.budget().absolute(), 9);  // floor(0.1 * 99)
  EXPECT_EQ(three.search().episodes(), 6);

  spec.mutable_search()->set_episodes(1);
  EXPECT_EQ(SpecOfStage(spec, stages, 2, &first, &second).search().episodes(), 1);
}

TEST(StagesTest, OneTableForAll) {
  std::vector<StageResult> results(2);
  const auto measure = [](v1::Measurement& measured, int64_t macs, double top1) {
    measured.mutable_cost()->set_macs(macs);
    measured.mutable_cost()->set_params(1000);
    measured.set_top1(top1);
    measured.set_images(2000);
  };
  measure(*results[0].job.mutable_result()->mutable_original(), 4000, 0.9);
  measure(*results[0].job.mutable_result()->mutable_compressed(), 2000, 0.88);
  measure(*results[1].job.mutable_result()->mutable_original(), 2000, 0.88);
  measure(*results[1].job.mutable_result()->mutable_compressed(), 1000, 0.84);
  results[0].kl_from_original = 0.0625;
  results[1].kl_from_original = 0.25;
  const std::string text = StagesTable({0.5, 0.25}, results);
  EXPECT_THAT(text, HasSubstr("original  4.00 k      1.00 k  90.00%\n"));
  EXPECT_THAT(text, HasSubstr("1: 50.0%  2.00 k      1.00 k  88.00%                0.0625\n"));
  EXPECT_THAT(text, HasSubstr("2: 25.0%  1.00 k      1.00 k  84.00%                0.2500\n"));
  EXPECT_THAT(text, HasSubstr("2000 images"));
  google::protobuf::Struct parsed;
  ASSERT_TRUE(
      google::protobuf::util::JsonStringToMessage(StagesJson({0.5, 0.25}, results), &parsed).ok());
  const auto& stage = parsed.fields().at("stages").list_value().values(1).struct_value().fields();
  EXPECT_EQ(stage.at("kl_from_original").number_value(), 0.25);
}

}  // namespace
}  // namespace amc
