// prune: a policy in, a smaller ONNX file out.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "amc/v1/inspect.pb.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/checked_export.h"
#include "env/cost/cost_model.h"
#include "env/cost/lattice.h"
#include "env/cost/policy.h"
#include "env/graph/onnx_import.h"
#include "env/prune/criterion.h"
#include "env/prune/pruner.h"
#include "env/prune/surgery.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/engine/commands.h"

namespace amc {
namespace {

absl::StatusOr<std::vector<int64_t>> WantedCounts(const PruneArgs& args, const Grouping& grouping) {
  if (args.policy.empty()) {
    LatticeOptions options;
    options.min_preserve_ratio = 0;
    AMC_ASSIGN_OR_RETURN(const Lattice lattice, Lattice::Create(grouping, options));
    std::vector<int64_t> kept;
    for (size_t g = 0; g < lattice.num_groups(); ++g) {
      const PruneGroup& group = grouping.groups[g];
      const bool whole = group.residual && args.residual_path == "keep";
      kept.push_back(whole ? group.channels : lattice.Round(g, args.ratio));
    }
    return kept;
  }
  AMC_ASSIGN_OR_RETURN(const v1::PolicyFile file, ReadPolicyFile(args.policy));
  Policy policy;
  for (const auto& [group, kept] : file.keep()) {
    policy.decisions.push_back({.target = group, .kept = kept});
  }
  absl::StatusOr<std::vector<int64_t>> kept = KeptCounts(policy, grouping);
  if (!kept.ok()) {
    return WithHint(Annotate(kept.status(), args.policy),
                    absl::StrCat("`amc inspect ", args.model, "` lists the groups."));
  }
  return kept;
}

// Without images: channels by the norm of their weights, and nothing is refitted.
absl::StatusOr<Graph> PruneByWeights(const Graph& graph, const Grouping& grouping,
                                     absl::Span<const int64_t> kept, Criterion criterion) {
  ChannelSelection selection;
  for (size_t g = 0; g < kept.size(); ++g) {
    AMC_ASSIGN_OR_RETURN(const std::vector<double> scores,
                         WeightNorms(graph, grouping, g, criterion == Criterion::kL1 ? 1 : 2));
    selection.push_back(SelectChannels(grouping.groups[g], scores, kept[g]));
  }
  return Shrink(graph, grouping, selection);
}

// What was chosen, or follows from whether there are images.
struct Method {
  PruneOptions options;
  Reconstruction reconstruction = Reconstruction::kStrong;

  // Whether the pruner begins with statistics of the original's activations.
  bool ReadsActivations() const {
    return options.criterion == Criterion::kActivationEnergy ||
           options.criterion == Criterion::kGreedy || reconstruction == Reconstruction::kFast ||
           reconstruction == Reconstruction::kSampled;
  }
};

bool KeepsAll(absl::Span<const int64_t> kept, const Grouping& grouping) {
  for (size_t g = 0; g < kept.size(); ++g) {
    if (kept[g] != grouping.groups[g].channels) return false;
  }
  return true;
}

absl::StatusOr<Method> ChooseMethod(const PruneArgs& args, const ExecOptions& exec) {
  const bool data = !args.data.empty();
  Method method;
  if (!args.criterion.empty()) {
    AMC_ASSIGN_OR_RETURN(method.options.criterion, ParseCriterion(args.criterion));
  } else if (!data) {
    method.options.criterion = Criterion::kL2;
  }
  if (!args.reconstruction.empty()) {
    AMC_ASSIGN_OR_RETURN(method.reconstruction, ParseReconstruction(args.reconstruction));
  } else if (!data) {
    method.reconstruction = Reconstruction::kNone;
  }
  const Criterion criterion = method.options.criterion;
  if (!data && ((criterion != Criterion::kL1 && criterion != Criterion::kL2) ||
                method.reconstruction != Reconstruction::kNone)) {
    return UsageError(absl::StrCat("criterion ", std::string(CriterionName(criterion)),
                                   " with reconstruction ",
                                   std::string(ReconstructionName(method.reconstruction)),
                                   " needs images: --data names a data pack"));
  }
  method.options.exec = exec;
  method.options.reconstruction_images = args.images;
  method.options.samples_per_layer = args.samples;
  method.options.recalibration_images = args.recalibration;
  method.options.ridge = args.ridge;
  method.options.seed = args.seed;
  return method;
}

v1::PruneInfo Describe(const PruneArgs& args, const Method& method, const Policy& policy,
                       const Cost& before, const Cost& after) {
  v1::PruneInfo info;
  info.set_output(args.output);
  info.mutable_original()->set_macs(before.macs);
  info.mutable_original()->set_params(before.params);
  info.mutable_pruned()->set_macs(after.macs);
  info.mutable_pruned()->set_params(after.params);
  info.set_criterion(std::string(CriterionName(method.options.criterion)));
  info.set_reconstruction(std::string(ReconstructionName(method.reconstruction)));
  for (const Decision& decision : policy.decisions) {
    v1::Decision& out = *info.mutable_policy()->add_decisions();
    out.set_target(decision.target);
    out.set_granularity(v1::GRANULARITY_CHANNEL);
    out.set_kept(decision.kept);
  }
  return info;
}

void PrintInfo(const v1::PruneInfo& info) {
  const auto change = [](int64_t after, int64_t before) {
    return Percent(before > 0 ? static_cast<double>(after) / static_cast<double>(before) : 1);
  };
  std::puts(absl::StrFormat("%s: %s MACs (%s), %s parameters (%s), %s (criterion %s, "
                            "reconstruction %s)",
                            info.output(), HumanCount(info.pruned().macs()),
                            change(info.pruned().macs(), info.original().macs()),
                            HumanCount(info.pruned().params()),
                            change(info.pruned().params(), info.original().params()),
                            HumanBytes(info.pruned_bytes()), info.criterion(),
                            info.reconstruction())
                .c_str());
}

}  // namespace

absl::Status RunPrune(const PruneArgs& args) {
  AMC_ASSIGN_OR_RETURN(const ExecOptions exec, PrepareExec(args.exec));
  AMC_ASSIGN_OR_RETURN(const Method method, ChooseMethod(args, exec));
  AMC_ASSIGN_OR_RETURN(const std::string original_bytes, ReadFile(args.model));
  const absl::StatusOr<Graph> graph = ImportOnnx(original_bytes);
  AMC_RETURN_IF_ERROR(Annotate(graph.status(), args.model));
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(*graph));
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept, WantedCounts(args, grouping));

  std::unique_ptr<DataPack> pack;
  Graph pruned;
  if (args.data.empty()) {
    AMC_ASSIGN_OR_RETURN(pruned, PruneByWeights(*graph, grouping, kept, method.options.criterion));
  } else {
    AMC_ASSIGN_OR_RETURN(pack, DataPack::Open(args.data));
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Pruner> pruner,
                         Pruner::Create(*graph, grouping, *pack, method.options));
    NoteSurplus(args.images, PruneArgs().images, *pack, Split::kReconstruction);
    ProgressLine line;
    if (method.ReadsActivations() && !KeepsAll(kept, grouping)) {
      AMC_RETURN_IF_ERROR(pruner->Prepare(ShowProgress(line, "reading activations, image")));
    }
    AMC_ASSIGN_OR_RETURN(pruned, pruner->Prune(kept, method.reconstruction,
                                               ShowProgress(line, "reconstructing layer")));
  }
  AMC_ASSIGN_OR_RETURN(const std::string bytes, CheckedExport(pruned, pack.get(), exec));
  AMC_RETURN_IF_ERROR(WriteFileAtomically(args.output, bytes));

  AMC_ASSIGN_OR_RETURN(const Cost before, CountCost(*graph));
  AMC_ASSIGN_OR_RETURN(const Cost after, CountCost(pruned));
  v1::PruneInfo info = Describe(args, method, MakePolicy(grouping, kept), before, after);
  info.set_original_bytes(static_cast<int64_t>(original_bytes.size()));
  info.set_pruned_bytes(static_cast<int64_t>(bytes.size()));
  if (args.json) {
    PrintJson(info);
  } else {
    PrintInfo(info);
  }
  return absl::OkStatus();
}

}  // namespace amc
