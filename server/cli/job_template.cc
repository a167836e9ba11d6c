#include "server/cli/job_template.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/graph/groups.h"
#include "google/protobuf/util/json_util.h"
#include "server/cli/format.h"
#include "server/cli/json.h"

namespace amc {
namespace {

constexpr char kTemplate[] =
    R"(// A job for `amc submit` or `amc run`: a JobSpec (proto/amc/v1/job.proto) as JSON. Lines that begin
// with // or # are comments. Every field may be left out; what stands here are the defaults.
// $SUMMARY
{
  "name": $NAME,
  // Paths are relative to this file; a digest names what the server already has.
  "model": $MODEL,
  "data": $DATA,
  "budget": {
    // RESOURCE_MACS, _PARAMS, _ACTIVATION_BYTES, _MODEL_BYTES or _LATENCY (nanoseconds; a latency budget
    // needs "latency": {"table": ...}, a file of `amc lut build` or a digest)
    "resource": "RESOURCE_MACS",
    // Of the original's cost; or "absolute": a number. Further bounds, all of which hold:
    // "also": [{"resource": "RESOURCE_PARAMS", "ratio": 0.5}]
    "ratio": 0.5,
    // Use the budget up: clamp from below too.
    "land": true
  },
  "search": {
    // "hybrid", "dp", "sensitivity", "evolution", "ddpg", "ddpg-paper", "uniform", "stages", "random"
    // or "netadapt"
    "agent": "hybrid",
    "seed": 0,
    // What the search may cost, in evaluations of a candidate on all reward images, and how many
    // candidates are drawn at once (for as many workers).
    "episodes": 200,
    "parallel_episodes": 2,
    // QUALITY_METRIC_TOP1, _TOP5, _NEGATIVE_KL or _NEGATIVE_SOFT_KL
    "metric": "QUALITY_METRIC_NEGATIVE_SOFT_KL",
    // REWARD_KIND_QUALITY under a budget; with or without one also REWARD_KIND_ERROR_LOG_MACS, ..._PARAMS,
    // ..._LATENCY, ..._ACTIVATION_BYTES or ..._MODEL_BYTES: minus the error times the logarithm of the cost
    "reward": "REWARD_KIND_QUALITY",
    // ddpg-paper (He et al. 2018, sections 3.2 and 4) and ddpg.
    "ddpg": {
      "hidden": 300,
      "actor_learning_rate": 1e-4,
      "critic_learning_rate": 1e-3,
      "soft_update": 0.01,
      "discount": 1,
      "batch": 64,
      "warmup_episodes": 100,
      "noise": 0.5,
      "noise_decay": 0.95,
      "replay_transitions": 2000,
      "baseline_decay": 0.5
    },
    // Losses of single groups, which sensitivity, dp, ddpg and hybrid measure first: on how many
    // reward images (0: all), at how many ratios of each group.
    "probes": {
      "images": 500,
      "ratios": 4
    },
    // evolution starts from "uniform" or "dp"; newcomers, also hybrid's, are first ranked on so many
    // reward images (0: all).
    "evolution": {
      "start": "uniform",
      "screening_images": 500
    },
    // The first step, as a share of the way to the budget, and how it falls with each iteration.
    "netadapt": {
      "step": 0.05,
      "decay": 0.96
    },
    // Ids of ended jobs of the same model, data and evaluation, whose histories are learnt first.
    "learn_from": []
  },
  "space": {
    "min_preserve_ratio": 0.2,
    // Groups keep multiples of it, or all. Where the budget or the reward is on latency, leave it out: it
    // is 8 then, as runtimes like, if the network allows it.
    "channel_multiple": 1,
    // RESIDUAL_PATH_KEEP: groups on residual paths stay whole; or RESIDUAL_PATH_PRUNE. Unset: KEEP
    // where the budget can be reached so.
    "residual_path": "RESIDUAL_PATH_UNSPECIFIED",
    // Groups that stay whole. This network has:
$GROUPS
    "frozen": []
  },
  "evaluation": {
    // CRITERION_L1, CRITERION_L2, CRITERION_ENERGY or CRITERION_GREEDY
    "criterion": "CRITERION_GREEDY",
    // What ranks candidates: RECONSTRUCTION_NONE, _FAST, _SAMPLED or _STRONG. The winner gets STRONG.
    "reconstruction": "RECONSTRUCTION_SAMPLED",
    "reconstruction_images": 4000,
    // Of these, that RECONSTRUCTION_SAMPLED looks at.
    "sampled_images": 250,
    "samples_per_layer": 40000,
    "recalibration_images": 128,
    "ridge": 1e-4,
    // 0: the whole split
    "reward_images": 0,
    "report_images": 0,
    // SGD steps that train each candidate after its reconstruction.
    "finetune_steps": 0,
    "finetune_learning_rate": 0.01,
    // DEVICE_CPU or DEVICE_CUDA; PRECISION_FP32 or PRECISION_BF16
    "device": "DEVICE_CPU",
    "precision": "PRECISION_FP32",
    "batch_size": 64,
    // Of each worker.
    "threads": 1
  },
  // Of one candidate: errors, or crashes of workers, before the job stops.
  "max_attempts": 3,
  // Search although the original is near chance.
  "allow_weak_baseline": false,
  // How the job shares the workers; nothing below changes what it finds.
  // -100 to 100: higher ones first, equal ones take turns.
  "priority": 0,
  // At once; 0: as many as there are.
  "max_workers": 0,
  "requirements": {
    // What a worker's tasks may use; 0: any.
    "memory_bytes": 0,
    // "libtorch", or with a version "libtorch 1.13.1"; empty: any.
    "runtime": ""
  },
  // Answer candidates that were measured before, for any job, from the store.
  "reuse": true
}
)";

}  // namespace

absl::StatusOr<std::string> JobTemplate(const std::string& model, const std::string& data,
                                        const Graph& graph) {
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(graph));
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(graph));
  std::string groups;
  for (const PruneGroup& group : grouping.groups) {
    absl::StrAppend(&groups, groups.empty() ? "" : "\n", "    //   ", JsonQuote(group.name), " (",
                    group.channels, " channels", group.residual ? ", residual path)" : ")");
  }
  const std::string summary =
      absl::StrCat(std::filesystem::path(model).filename().string(), ": ", HumanCount(cost.macs),
                   " MACs, ", HumanCount(cost.params), " parameters");
  return absl::StrReplaceAll(kTemplate,
                             {{"$SUMMARY", summary},
                              {"$NAME", JsonQuote(std::filesystem::path(model).stem().string())},
                              {"$MODEL", JsonQuote(model)},
                              {"$DATA", JsonQuote(data)},
                              {"$GROUPS", groups.empty() ? "    //   none" : groups}});
}

v1::JobSpec DefaultJobSpec() {
  const std::string text = StripCommentLines(absl::StrReplaceAll(
      kTemplate, {{"$NAME", "\"\""}, {"$MODEL", "\"\""}, {"$DATA", "\"\""}, {"$GROUPS", ""}}));
  v1::JobSpec spec;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &spec);
  AMC_CHECK(status.ok()) << std::string(status.message());
  return spec;
}

}  // namespace amc
