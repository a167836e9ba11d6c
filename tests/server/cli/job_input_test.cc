// What is checked of a job before a server sees it, how its errors read, and when two are the same.
#include <CLI/CLI.hpp>
#include <string>

#include "agent/agent_registry.h"
#include "base/file.h"
#include "env/exec/data_pack.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/cli/checks.h"
#include "server/cli/exit_status.h"
#include "server/cli/input_check.h"
#include "server/cli/job_comparison.h"
#include "server/cli/job_flags.h"
#include "server/job_spec.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::JobSpec Spec(double ratio) {
  v1::JobSpec spec;
  spec.set_model(std::string(64, 'a'));
  spec.set_data(std::string(64, 'b'));
  spec.mutable_budget()->set_ratio(ratio);
  return spec;
}

v1::JobSpec OnLatency() {
  v1::JobSpec spec = Spec(0.3);
  spec.mutable_budget()->set_resource(v1::RESOURCE_LATENCY);
  spec.mutable_latency()->set_table(std::string(64, 'c'));
  return spec;
}

TEST(JobComparisonTest, DefaultsAreThoseOfTheServer) {
  for (const v1::JobSpec& spec :
       {Spec(0.3),
        [] {
          v1::JobSpec absolute = Spec(0.3);
          absolute.mutable_budget()->set_absolute(5);
          absolute.mutable_space()->add_frozen("conv1");
          return absolute;
        }(),
        [] {
          v1::JobSpec weighed = Spec(0.3);
          weighed.mutable_search()->set_reward(v1::REWARD_KIND_ERROR_LOG_MACS);
          return weighed;
        }(),
        OnLatency()}) {
    const auto resolved = ResolveJobSpec(spec);
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    EXPECT_EQ(WithDefaults(spec).DebugString(), resolved->DebugString());
    EXPECT_THAT(Differences(*resolved, spec), IsEmpty());
  }
}

TEST(JobComparisonTest, SayingADefaultIsNoDifference) {
  v1::JobSpec wanted = Spec(0.5);
  wanted.mutable_search()->set_seed(0);
  wanted.set_name("another");
  EXPECT_THAT(Differences(*ResolveJobSpec(Spec(0.5)), wanted), IsEmpty());
}

TEST(JobComparisonTest, NamesEveryDifference) {
  v1::JobSpec wanted = Spec(0.4);
  wanted.mutable_search()->set_episodes(300);
  wanted.mutable_evaluation()->set_criterion(v1::CRITERION_L1);
  wanted.mutable_space()->add_frozen("conv1");
  EXPECT_THAT(Differences(*ResolveJobSpec(Spec(0.5)), wanted),
              ElementsAre("budget.ratio 0.5, this command says 0.4",
                          "search.episodes 200, this command says 300",
                          "space.frozen none, this command says conv1",
                          "evaluation.criterion greedy, this command says l1"));
  wanted = Spec(0.5);
  wanted.set_data(std::string(64, 'c'));
  EXPECT_THAT(Differences(*ResolveJobSpec(Spec(0.5)), wanted),
              ElementsAre("data bbbbbbbbbbbb, this command says cccccccccccc"));
}

TEST(JobComparisonTest, StartPoliciesAndLearntJobsAreSettings) {
  v1::JobSpec wanted = Spec(0.5);
  wanted.mutable_search()->add_learn_from("other");
  v1::Decision& decision =
      *wanted.mutable_search()->mutable_evolution()->mutable_start_policy()->add_decisions();
  decision.set_target("conv1");
  decision.set_kept(8);
  EXPECT_THAT(Differences(*ResolveJobSpec(wanted), wanted), IsEmpty());
  EXPECT_THAT(Differences(*ResolveJobSpec(Spec(0.5)), wanted),
              ElementsAre(HasSubstr("start_policy.decisions none, this command says target: "
                                    "\"conv1\""),
                          "search.learn_from none, this command says other"));
}

TEST(JobComparisonTest, AJobOfAnEarlierVersionHasDefaultsForWhatCameLater) {
  v1::JobSpec stored = *ResolveJobSpec(Spec(0.5));
  stored.mutable_search()->clear_probes();
  stored.mutable_search()->clear_netadapt();
  stored.mutable_evaluation()->clear_finetune_steps();
  EXPECT_THAT(Differences(stored, Spec(0.5)), IsEmpty());
}

TEST(JobComparisonTest, WhatTheServerDecidesOfResidualPathsIsNoDifference) {
  v1::JobSpec stored = *ResolveJobSpec(Spec(0.5));
  stored.mutable_space()->set_residual_path(v1::RESIDUAL_PATH_KEEP);
  EXPECT_THAT(Differences(stored, Spec(0.5)), IsEmpty());
  v1::JobSpec wanted = Spec(0.5);
  wanted.mutable_space()->set_residual_path(v1::RESIDUAL_PATH_PRUNE);
  EXPECT_THAT(Differences(stored, wanted),
              ElementsAre("space.residual_path keep, this command says prune"));
}

TEST(JobComparisonTest, NorWhatItDecidesOfMultiplesOnLatency) {
  v1::JobSpec stored = *ResolveJobSpec(OnLatency());
  stored.mutable_space()->set_channel_multiple(8);
  EXPECT_THAT(Differences(stored, OnLatency()), IsEmpty());
  v1::JobSpec wanted = OnLatency();
  wanted.mutable_space()->set_channel_multiple(1);
  EXPECT_THAT(Differences(stored, wanted),
              ElementsAre("space.channel_multiple 8, this command says 1"));
}

TEST(JobComparisonTest, HowAJobSharesWorkersIsNoDifference) {
  v1::JobSpec wanted = Spec(0.5);
  wanted.set_priority(7);
  wanted.set_max_workers(2);
  wanted.mutable_requirements()->set_memory_bytes(1);
  wanted.mutable_requirements()->set_runtime("libtorch");
  wanted.set_reuse(false);
  EXPECT_THAT(Differences(*ResolveJobSpec(Spec(0.5)), wanted), IsEmpty());
}

TEST(JobFlagsTest, SharingOfWorkersReachesTheSpec) {
  JobFlags flags;
  flags.model = "m.onnx";
  flags.data = "d.pack";
  flags.budget = {"0.5"};
  flags.priority = -3;
  flags.max_workers = 2;
  flags.memory_bytes = 8'000'000'000;
  flags.runtime = "libtorch 1.13.1";
  flags.no_reuse = true;
  const auto spec = MakeJobSpec(flags);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->priority(), -3);
  EXPECT_EQ(spec->max_workers(), 2);
  EXPECT_EQ(spec->requirements().memory_bytes(), 8'000'000'000);
  EXPECT_EQ(spec->requirements().runtime(), "libtorch 1.13.1");
  EXPECT_TRUE(spec->has_reuse());
  EXPECT_FALSE(spec->reuse());
  EXPECT_EQ(
      std::string(InTermsOfFlags(FieldErrors({{"spec.requirements.memory_bytes", "too much"}}),
                                 flags, *spec)
                      .message()),
      "--memory: too much");
}

TEST(JobFlagsTest, KnowsTheAgentsThereAre) { EXPECT_EQ(KnownAgents(), AgentNames()); }

TEST(JobFlagsTest, AJobNeedsABudgetOrARewardThatWeighsCost) {
  JobFlags flags;
  flags.model = "m.onnx";
  flags.data = "d.pack";
  const absl::Status status = MakeJobSpec(flags).status();
  EXPECT_EQ(ExitCodeOf(status), kExitUsage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--budget"));
  for (const char* reward : {"error_log_params", "error_log_latency", "error_log_model_bytes"}) {
    flags.reward = reward;
    EXPECT_TRUE(MakeJobSpec(flags).ok()) << reward;
  }
  flags.reward = "quality";
  EXPECT_EQ(ExitCodeOf(MakeJobSpec(flags).status()), kExitUsage);
}

TEST(JobFlagsTest, ErrorsOfTheServerNameFlagsAndFiles) {
  JobFlags flags;
  flags.budget = {"0.01"};
  flags.file = "job.json";
  v1::JobSpec local;
  local.set_model("net.onnx");
  local.set_data("cut.pack");
  const absl::Status status =
      InTermsOfFlags(FieldErrors({{"spec.budget", "out of reach"},
                                  {"spec.search.episodes", "0 is not in [1, 2]"},
                                  {"spec.data", "/x/artifacts/ab/abcd: offset 0: not a data pack"},
                                  {"spec.model", "cyclic"}}),
                     flags, local);
  EXPECT_EQ(std::string(status.message()),
            "--budget: out of reach; job.json: search.episodes: 0 is not in [1, 2]; "
            "cut.pack: offset 0: not a data pack; net.onnx: cyclic");
  flags.learn_from = {"one", "two"};
  EXPECT_EQ(
      std::string(InTermsOfFlags(FieldErrors({{"spec.search.learn_from[1]", "has not ended"}}),
                                 flags, local)
                      .message()),
      "--learn-from: has not ended");
  const absl::Status other = absl::NotFoundError("no field");
  EXPECT_EQ(InTermsOfFlags(other, flags, local), other);
}

class PackSummaryTest : public testing::Test {
 protected:
  absl::StatusOr<PackSummary> Read(const std::string& bytes) {
    EXPECT_TRUE(WriteFileAtomically(path_, bytes).ok());
    return ReadPackSummary(path_);
  }
  TempDirectory folder_ = *TempDirectory::Create();
  std::string path_ = folder_.path() + "/data.pack";
};

TEST_F(PackSummaryTest, ReadsWhatSerializePackWrites) {
  PackContents contents;
  contents.images = {1, 2, 3, std::vector<uint8_t>(36), {0, 1, 0, 1, 0, 1}, {"5", "6"}};
  contents.split_sizes[0] = 3;
  contents.split_sizes[1] = 2;
  contents.split_sizes[2] = 1;
  contents.preprocessing = {{0.5F}, {0.25F}};
  contents.source = "a: 7";
  const std::string bytes = *SerializePack(contents);
  const auto summary = Read(bytes);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->reconstruction_images, 3);
  EXPECT_EQ(summary->reward_images, 2);
  EXPECT_EQ(summary->report_images, 1);
  for (size_t length = 0; length < bytes.size(); ++length) {
    const absl::Status status = Read(bytes.substr(0, length)).status();
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << length << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("data.pack: "));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Read(bytes + "x").status()));
}

TEST_F(PackSummaryTest, NeedsAFile) {
  EXPECT_TRUE(absl::IsNotFound(ReadPackSummary(path_).status()));
  EXPECT_FALSE(ReadPackSummary(folder_.path()).ok());
}

TEST(ChecksTest, RangesAreShortAndExact) {
  const auto error = [](const CLI::Validator& validator, const std::string& text) {
    return validator(text);
  };
  EXPECT_EQ(error(Share(), "1"), "");
  EXPECT_EQ(error(Share(), "0"), "0 is not above 0 and at most 1");
  EXPECT_NE(error(Share(), "nan"), "");
  EXPECT_EQ(error(Fraction(), "89"), "89 is not in the range 0 to 1; 89% is 0.89");
  EXPECT_EQ(error(AtLeast(0), "-1"), "-1 is not a whole number from 0");
  EXPECT_EQ(error(WholeBetween(1, 4), "4"), "");
  EXPECT_NE(error(WholeBetween(1, 4), "5"), "");
  EXPECT_EQ(error(Seed(), "18446744073709551615"), "");
  EXPECT_NE(error(Seed(), "-1"), "");
  EXPECT_NE(error(Address(), "nonsense"), "");
}

TEST(ChecksTest, BytesHaveUnits) {
  EXPECT_EQ(ParseBytes("640"), 640);
  EXPECT_EQ(ParseBytes("9223372036854775807"), 9223372036854775807);
  EXPECT_EQ(ParseBytes("20G"), 20'000'000'000);
  EXPECT_EQ(ParseBytes("1.5tb"), 1'500'000'000'000);
  EXPECT_EQ(ParseBytes("512Mi"), 512 << 20);
  EXPECT_EQ(ParseBytes("1KiB"), 1024);
  for (const char* wrong : {"", "G", "-1", "1X", "1GG", "1.2.3", "1e3", "9223372036854775808",
                            "9999999T", "nan", "1 G", "i"}) {
    EXPECT_EQ(ParseBytes(wrong), std::nullopt) << wrong;
  }
  std::string text = "2k";
  EXPECT_EQ(Bytes()(text), "");
  EXPECT_EQ(text, "2000");
}

TEST(ChecksTest, DurationsAreAboveZero) {
  for (std::string text : {"15s", "500ms", "1h30m"}) EXPECT_EQ(Duration()(text), "") << text;
  for (std::string text : {"", "15", "0s", "-1s", "inf", "soon"}) EXPECT_NE(Duration()(text), "");
}

TEST(ChecksTest, OutputFilesNeedAFolder) {
  const TempDirectory folder = *TempDirectory::Create();
  EXPECT_TRUE(CheckOutputFile(folder.path() + "/x").ok());
  EXPECT_TRUE(CheckOutputFile("x").ok());
  EXPECT_TRUE(absl::IsNotFound(CheckOutputFile(folder.path() + "/none/x")));
  EXPECT_FALSE(CheckOutputFile(folder.path()).ok());
  ASSERT_TRUE(WriteFileAtomically(folder.path() + "/file", "").ok());
  EXPECT_FALSE(CheckOutputFile(folder.path() + "/file/x").ok());
}

}  // namespace
}  // namespace amc
