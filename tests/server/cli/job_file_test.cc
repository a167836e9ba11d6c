// Job files, flags over them, policy files.
#include <string>

#include "base/file.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "server/cli/exit_status.h"
#include "server/cli/job_field.h"
#include "server/cli/job_flags.h"
#include "server/cli/job_template.h"
#include "server/cli/json.h"
#include "server/job_spec.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

class JobFileTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = folder_.path() + "/" + name;
    EXPECT_TRUE(WriteFileAtomically(path, text).ok());
    return path;
  }
  TempDirectory folder_ = *TempDirectory::Create();
};

TEST_F(JobFileTest, CommentLinesVanishButLinesKeepTheirNumber) {
  EXPECT_EQ(StripCommentLines("// a\n{\n  # b\n\"x\": \"// no\"\n}"), "\n{\n\n\"x\": \"// no\"\n}");
}

TEST_F(JobFileTest, PathsAreRelativeToTheFileAndDigestsStay) {
  const std::string digest(64, 'a');
  const std::string path =
      Write("job.json", "// mine\n{\"model\": \"m.onnx\", \"data\": \"" + digest + "\"}");
  const auto spec = ReadJobFile(path);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model(), folder_.path() + "/m.onnx");
  EXPECT_EQ(spec->data(), digest);
}

TEST_F(JobFileTest, NamesTheFileAndTheUnknownField) {
  const auto spec = ReadJobFile(Write("job.json", R"({"modell": "m.onnx"})"));
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(spec.status().message()),
              testing::AllOf(HasSubstr("job.json"), HasSubstr("modell")));
  EXPECT_TRUE(absl::IsNotFound(ReadJobFile(folder_.path() + "/none").status()));
}

TEST_F(JobFileTest, TheTemplateStatesTheDefaults) {
  const Graph graph = *BuildNetwork("vgg-small", {.weightless = true});
  const auto text = JobTemplate("m.onnx", "d.pack", graph);
  ASSERT_TRUE(text.ok()) << text.status();
  auto written = ReadJobFile(Write("job.json", *text));
  ASSERT_TRUE(written.ok()) << written.status();
  v1::JobSpec minimal;
  minimal.mutable_budget()->set_ratio(0.5);
  for (v1::JobSpec* spec : {&*written, &minimal}) {
    spec->set_name("n");
    spec->set_model(std::string(64, 'a'));
    spec->set_data(std::string(64, 'b'));
  }
  const auto resolved = ResolveJobSpec(minimal);
  const auto resolved_template = ResolveJobSpec(*written);
  ASSERT_TRUE(resolved.ok() && resolved_template.ok());
  EXPECT_EQ(resolved_template->DebugString(), resolved->DebugString());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*resolved, *written))
      << "the template leaves a field out:\n"
      << resolved->DebugString() << "\n---\n"
      << written->DebugString();
}

TEST_F(JobFileTest, FlagsOverrideTheFile) {
  JobFlags flags;
  flags.file =
      Write("job.json", R"({"model": "/m", "data": "/d", "search": {"episodes": 7, "seed": 4},
                                     "budget": {"ratio": 0.5}})");
  flags.episodes = 9;
  flags.budget_absolute = 123;
  flags.criterion = "l1";
  flags.frozen = {"conv1"};
  flags.residual_path = "prune";
  flags.settings = {"search.ddpg.noise=0.25", "evaluation.device=DEVICE_CUDA"};
  const auto spec = MakeJobSpec(flags);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->search().episodes(), 9);
  EXPECT_EQ(spec->search().seed(), 4u);
  EXPECT_EQ(spec->budget().absolute(), 123);
  EXPECT_FALSE(spec->budget().has_ratio());
  EXPECT_EQ(spec->evaluation().criterion(), v1::CRITERION_L1);
  EXPECT_EQ(spec->evaluation().device(), v1::DEVICE_CUDA);
  EXPECT_EQ(spec->search().ddpg().noise(), 0.25);
  EXPECT_EQ(spec->space().frozen(0), "conv1");
  EXPECT_EQ(spec->space().residual_path(), v1::RESIDUAL_PATH_PRUNE);
}

TEST_F(JobFileTest, WhatAgentsAreToldReachesTheSpec) {
  JobFlags flags;
  flags.model = "/m";
  flags.data = "/d";
  flags.budget = {"0.5"};
  flags.agent = "evolution";
  flags.probe_images = 100;
  flags.probe_ratios = 3;
  flags.screening_images = 0;
  flags.start_policy = Write("policy.json", R"({"keep": {"b": 3, "a": 8}})");
  flags.learn_from = {"one", "two"};
  flags.finetune_steps = 20;
  const auto spec = MakeJobSpec(flags);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->search().probes().images(), 100);
  EXPECT_EQ(spec->search().probes().ratios(), 3);
  EXPECT_TRUE(spec->search().evolution().has_screening_images());
  const v1::Policy& start = spec->search().evolution().start_policy();
  ASSERT_EQ(start.decisions_size(), 2);
  EXPECT_EQ(start.decisions(0).target(), "a");  // by name
  EXPECT_EQ(start.decisions(0).kept(), 8);
  EXPECT_EQ(spec->search().learn_from_size(), 2);
  EXPECT_EQ(spec->evaluation().finetune_steps(), 20);
  flags.start_policy.clear();
  flags.start = "dp";
  EXPECT_EQ(MakeJobSpec(flags)->search().evolution().start(), "dp");
}

TEST_F(JobFileTest, BadAssignmentsAreUsageErrors) {
  v1::JobSpec spec;
  for (const char* assignment :
       {"search.episodes", "search.nothing=1", "nothing=1", "search=1", "search.episodes.x=1",
        "search.episodes=many", "search.seed=-1", "search.evolution.start_policy.decisions.kept=1",
        "search.evolution.start_policy=x", "evaluation.ridge=", "evaluation.criterion=best",
        "evaluation.criterion=unspecified", "budget.land=perhaps", "=", ""}) {
    const absl::Status status = SetField(assignment, spec);
    EXPECT_EQ(ExitCodeOf(status), kExitUsage) << assignment << ": " << status;
  }
  const absl::Status status = SetField("evaluation.criterion=best", spec);
  EXPECT_THAT(std::string(status.message()), HasSubstr("l1, l2, energy"));
}

TEST_F(JobFileTest, ModelAndDataMustBeNamed) {
  JobFlags flags;
  EXPECT_EQ(ExitCodeOf(MakeJobSpec(flags).status()), kExitUsage);
  flags.model = "m.onnx";
  EXPECT_THAT(std::string(MakeJobSpec(flags).status().message()), HasSubstr("--data"));
}

TEST_F(JobFileTest, PolicyFilesReadBack) {
  v1::Policy policy;
  for (const auto& [name, kept] : {std::pair("conv \"1\"", 8), std::pair("b", 3)}) {
    policy.add_decisions()->set_target(name);
    policy.mutable_decisions()->rbegin()->set_kept(kept);
  }
  const std::string json = PolicyFileJson(policy);
  EXPECT_EQ(json, "{\n  \"keep\": {\n    \"conv \\\"1\\\"\": 8,\n    \"b\": 3\n  }\n}\n");
  const auto file = ReadPolicyFile(Write("policy.json", json));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->keep().at("conv \"1\""), 8);
  EXPECT_EQ(file->keep().size(), 2u);
}

}  // namespace
}  // namespace amc
