// What each part of an agent is worth: searches with the real evaluator in this process, the parts
// of hybrid switched off one by one. The table of docs/search.md.
//
//   search_ablation MODEL.onnx DATA.pack --budget 0.5 --evaluations 40 --seeds 5 --variants
//       hybrid,hybrid:probes,hybrid:surrogate,hybrid:screening,hybrid:plan,random
//
// NAME:PART is NAME without that part; a zero learning rate is `ddpg:learning`. All variants share
// measurements of the same candidates, as a server's jobs do, which changes no figure. A line of
// JSON a run: the best reward after a quarter, a half and all of the evaluations.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "agent/search.h"
#include "base/status_macros.h"
#include "env/amc_env.h"
#include "env/exec/data_pack.h"
#include "env/graph/onnx_import.h"
#include "env/local_evaluator.h"

namespace amc {
namespace {

struct Args {
  std::string model, data;
  double budget = 0.5;
  int64_t evaluations = 40, seeds = 5, reward_images = 1000, parallel = 2;
  bool keep_residual = true;
  std::string metric = "negative_soft_kl";
  std::vector<std::string> variants;
};

absl::StatusOr<SearchOptions> OptionsOf(const Args& args, const std::string& variant) {
  const std::vector<std::string> parts = absl::StrSplit(variant, ':');
  SearchOptions options;
  options.agent = parts[0];
  options.episodes = args.evaluations;
  options.parallel_episodes = args.parallel;
  options.agent_options.overhead_images = PruneOptions().recalibration_images;
  options.agent_options.reward_images = args.reward_images;
  options.agent_options.probes.images = args.reward_images / 4;
  options.agent_options.evolution.screening_images = args.reward_images / 4;
  options.reward.metric =
      args.metric == "top1" ? QualityMetric::kTop1 : QualityMetric::kNegativeSoftKl;
  HybridOptions& hybrid = options.agent_options.hybrid;
  for (size_t i = 1; i < parts.size(); ++i) {
    if (parts[i] == "probes") {
      hybrid.probes = false;
    } else if (parts[i] == "surrogate") {
      hybrid.surrogate = false;
    } else if (parts[i] == "screening") {
      hybrid.screening = false;
    } else if (parts[i] == "plan") {
      hybrid.plan = false;
    } else if (parts[i] == "learning") {
      options.agent_options.ddpg.actor_learning_rate = 0;
      options.agent_options.ddpg.critic_learning_rate = 0;
    } else {
      return absl::InvalidArgumentError(absl::StrCat(
          "variant ", variant, ": no part is called ", parts[i],
          "; there are probes, surrogate, screening, plan and, of ddpg agents, learning"));
    }
  }
  return options;
}

class Bench {
 public:
  explicit Bench(const Args& args) : args_(args) {}

  absl::Status Open() {
    AMC_ASSIGN_OR_RETURN(graph_, LoadOnnx(args_.model));
    AMC_ASSIGN_OR_RETURN(pack_, DataPack::Open(args_.data));
    LocalEvaluatorOptions options;
    options.reward_images = args_.reward_images;
    AMC_ASSIGN_OR_RETURN(evaluator_, LocalEvaluator::Create(graph_, *pack_, options));
    return absl::OkStatus();
  }

  absl::Status Run(const std::string& variant, uint64_t seed) {
    AMC_ASSIGN_OR_RETURN(auto env, AmcEnv::Create(graph_, {.budget = {{.ratio = args_.budget}},
                                                           .keep_residual = args_.keep_residual}));
    AMC_ASSIGN_OR_RETURN(SearchOptions options, OptionsOf(args_, variant));
    options.agent_options.seed = seed;
    AMC_ASSIGN_OR_RETURN(auto search, Search::Create(std::move(env), options));
    const absl::Time start = absl::Now();
    double marks[3] = {NAN, NAN, NAN};
    int64_t work = 0;
    while (!search->done()) {
      AMC_ASSIGN_OR_RETURN(const std::vector<Episode> generation, search->Draw());
      if (generation.empty()) break;
      std::vector<Measurement> measurements;
      for (const Episode& episode : generation) {
        AMC_ASSIGN_OR_RETURN(Measurement measurement, Measure({episode.policy, episode.images}));
        work += measurement.work;
        measurements.push_back(std::move(measurement));
      }
      AMC_RETURN_IF_ERROR(search->Commit(generation, measurements).status());
      for (int i = 0; i < 3; ++i) {
        const double until = static_cast<double>(args_.evaluations) / (4 >> i);
        if (search->spent() <= until + 1e-6 && search->best().has_value()) {
          marks[i] = search->best()->reward;
        }
      }
      std::fprintf(stderr, "\r%s seed %d: %5.1f of %d evaluations, best %.4f   ", variant.c_str(),
                   static_cast<int>(seed), search->spent(), static_cast<int>(args_.evaluations),
                   search->best().has_value() ? search->best()->reward : NAN);
    }
    const auto number = [](double value) {
      return std::isfinite(value) ? absl::StrFormat("%.5f", value) : std::string("null");
    };
    std::printf(
        "{\"variant\": \"%s\", \"seed\": %d, \"quarter\": %s, \"half\": %s, \"all\": %s, "
        "\"spent\": %.2f, \"episodes\": %d, \"tera_macs\": %.3f, \"seconds\": %.1f}\n",
        variant.c_str(), static_cast<int>(seed), number(marks[0]).c_str(), number(marks[1]).c_str(),
        number(marks[2]).c_str(), search->spent(), static_cast<int>(search->next_episode()),
        static_cast<double>(work) / 1e12, absl::ToDoubleSeconds(absl::Now() - start));
    std::fflush(stdout);
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<Measurement> Measure(const Candidate& candidate) {
    std::string key = absl::StrCat(candidate.images);
    for (const Decision& decision : candidate.policy.decisions) {
      absl::StrAppend(&key, " ", decision.kept);
    }
    const auto found = measured_.find(key);
    if (found != measured_.end()) return found->second;
    AMC_ASSIGN_OR_RETURN(const Measurement measurement,
                         evaluator_->EvaluateOne(candidate, evaluator_->reconstruction()));
    return measured_[key] = measurement;
  }

  const Args args_;
  Graph graph_;
  std::unique_ptr<DataPack> pack_;
  std::unique_ptr<LocalEvaluator> evaluator_;
  std::map<std::string, Measurement> measured_;
};

absl::Status RunAll(const Args& args) {
  Bench bench(args);
  AMC_RETURN_IF_ERROR(bench.Open());
  for (int64_t seed = 0; seed < args.seeds; ++seed) {  // whole rows first
    for (const std::string& variant : args.variants) {
      const bool deterministic = variant.starts_with("dp") || variant.starts_with("sensitivity") ||
                                 variant == "uniform" || variant == "stages";
      if (deterministic && seed > 0) continue;
      AMC_RETURN_IF_ERROR(bench.Run(variant, static_cast<uint64_t>(seed)));
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  amc::Args args;
  CLI::App app("What each part of an agent is worth");
  app.add_option("model", args.model, "ONNX")->required();
  app.add_option("data", args.data, "Data pack")->required();
  app.add_option("--budget", args.budget, "Of the MACs");
  app.add_option("--evaluations", args.evaluations, "What each search may cost");
  app.add_option("--seeds", args.seeds, "0, 1, ...");
  app.add_option("--reward-images", args.reward_images, "Of a full evaluation");
  app.add_option("--parallel-episodes", args.parallel, "A generation");
  app.add_option("--keep-residual", args.keep_residual, "Leave residual paths whole");
  app.add_option("--metric", args.metric, "negative_soft_kl or top1");
  app.add_option("--variants", args.variants, "NAME or NAME:PART")->required()->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = amc::RunAll(args);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
