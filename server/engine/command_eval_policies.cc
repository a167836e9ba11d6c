// eval --policies: candidates measured in this process as a worker measures them, without a server.
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "amc/v1/inspect.pb.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/graph/onnx_import.h"
#include "env/local_evaluator.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/convert.h"
#include "server/engine/commands.h"

namespace amc {
namespace {

constexpr double kMostChannels = 1e9;

// One line about a candidate, for people.
std::string Line(const Measurement& measured, double seconds) {
  if (!measured.infeasible.empty()) return absl::StrCat("infeasible: ", measured.infeasible);
  return absl::StrFormat("top-1 %s, KL %.4f, %s MACs, %.2f s", Percent(measured.top1, 2),
                         measured.kl, HumanCount(measured.cost.macs), seconds);
}

// The "policy" of every line, {"GROUP": count, ...}, as `amc history --canonical` writes them.
absl::StatusOr<std::vector<Policy>> ReadPolicies(const std::string& path) {
  AMC_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<Policy> policies;
  int64_t number = 0;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    ++number;
    if (line.empty()) continue;
    google::protobuf::Struct episode;
    const auto parsed = google::protobuf::util::JsonStringToMessage(line, &episode);
    const auto policy = episode.fields().find("policy");
    if (!parsed.ok() || policy == episode.fields().end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": line ", number, " is no JSON with a policy"));
    }
    Policy& next = policies.emplace_back();
    for (const auto& [group, kept] : policy->second.struct_value().fields()) {
      const double count = kept.number_value();  // 0 for what is no number
      if (count < 1 || count != std::floor(count) || count > kMostChannels) {
        return absl::InvalidArgumentError(absl::StrCat(path, ": line ", number, ": ", group,
                                                       " keeps no whole number of channels"));
      }
      next.decisions.push_back({.target = group, .kept = static_cast<int64_t>(count)});
    }
  }
  return policies;
}

}  // namespace

absl::Status RunEvalPolicies(const EvalArgs& args) {
  if (args.split != std::string(SplitName(Split::kReward))) {
    return UsageError("--policies: candidates are measured on the reward split, --split reward");
  }
  LocalEvaluatorOptions options;  // as a job has them by default
  AMC_ASSIGN_OR_RETURN(options.prune.exec, PrepareExec(args.exec));
  options.reward_images = args.images;
  AMC_ASSIGN_OR_RETURN(const std::vector<Policy> policies, ReadPolicies(args.policies));
  AMC_ASSIGN_OR_RETURN(const Graph graph, LoadOnnx(args.model));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<DataPack> pack, DataPack::Open(args.data));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<LocalEvaluator> evaluator,
                       LocalEvaluator::Create(graph, *pack, options));
  for (const Policy& policy : policies) {
    const absl::Time start = absl::Now();
    AMC_ASSIGN_OR_RETURN(const std::vector<Measurement> measurements,
                         evaluator->Evaluate({Candidate{.policy = policy}}));
    const Measurement& measured = measurements[0];
    v1::EvalInfo info;
    info.set_model(args.model);
    info.set_data(args.data);
    info.set_split(args.split);
    // Without a measurement: infeasible.
    if (measured.infeasible.empty()) *info.mutable_measurement() = ToProto(measured);
    info.set_seconds(absl::ToDoubleSeconds(absl::Now() - start));
    info.set_images_per_second(static_cast<double>(measured.images) / info.seconds());
    std::puts((args.json ? ToJson(info, false) : Line(measured, info.seconds())).c_str());
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace amc
