// What each reconstruction and criterion is worth before any fine-tuning, and what it costs.
//
//   reconstruction_bench MODEL.onnx DATA.pack [ratios=0.5,0.3] [criteria=l1,l2,energy,greedy]
//                        [reconstructions=none,fast,strong] [images=N] [samples=N]
//                        [recalibration=N] [reward=N] [ridge=X]
//
// Prunes the channels that one layer makes and one layer reads (inside residual blocks) by one
// ratio, topped up to the budget of MACs, and prints a row for each combination: top-1 and KL on
// the reward images, CPU seconds of one thread to rebuild and to measure.
#include <cstdio>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/graph/onnx_import.h"
#include "env/local_evaluator.h"

namespace amc {
namespace {

using Arguments = std::map<std::string, std::string>;

// Of this process's one thread, so that other work on the machine does not count.
double Seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Every inner group keeps the same fraction, rounded down, the largest that fits; then one channel
// more, group by group, while the budget allows it.
std::vector<int64_t> UniformInner(const Grouping& grouping, const CostModel& cost, double ratio) {
  std::vector<int64_t> whole, inner;
  for (size_t g = 0; g < grouping.groups.size(); ++g) {
    const PruneGroup& group = grouping.groups[g];
    whole.push_back(group.channels);
    if (group.producers.size() == 1 && group.consumers.size() == 1) {
      inner.push_back(static_cast<int64_t>(g));
    }
  }
  const auto limit = static_cast<int64_t>(ratio * static_cast<double>(cost.Evaluate(whole).macs));
  const auto fits = [&](const std::vector<int64_t>& kept) {
    return cost.Evaluate(kept).macs <= limit;
  };
  std::vector<int64_t> kept = whole;
  for (int percent = 100; percent > 0; --percent) {
    for (const int64_t g : inner) {
      const int64_t cells = grouping.groups[g].cells;
      kept[g] = std::max<int64_t>(cells, whole[g] * percent / 100 / cells * cells);
    }
    if (fits(kept)) break;
  }
  for (bool grew = true; grew;) {
    grew = false;
    for (const int64_t g : inner) {
      const int64_t cells = grouping.groups[g].cells;
      if (kept[g] + cells > whole[g]) continue;
      kept[g] += cells;
      if (fits(kept)) {
        grew = true;
      } else {
        kept[g] -= cells;
      }
    }
  }
  return kept;
}

std::vector<std::string> List(const Arguments& arguments, const std::string& name) {
  return absl::StrSplit(arguments.at(name), ',');
}

int64_t IntOr(const Arguments& arguments, const std::string& name, int64_t fallback) {
  const auto found = arguments.find(name);
  int64_t value = fallback;
  if (found != arguments.end() && !absl::SimpleAtoi(found->second, &value)) value = fallback;
  return value;
}

absl::Status Run(const std::string& model, const std::string& data, Arguments arguments) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model));
  AMC_ASSIGN_OR_RETURN(const Graph graph, ImportOnnx(bytes));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<DataPack> pack, DataPack::Open(data));
  arguments.try_emplace("ratios", "0.5,0.3");
  arguments.try_emplace("criteria", "l1,l2,energy,greedy");
  arguments.try_emplace("reconstructions", "none,fast,strong");
  LocalEvaluatorOptions options;
  options.reward_images = IntOr(arguments, "reward", 0);
  PruneOptions& prune = options.prune;
  prune.reconstruction_images = IntOr(arguments, "images", prune.reconstruction_images);
  prune.samples_per_layer = IntOr(arguments, "samples", prune.samples_per_layer);
  prune.recalibration_images = IntOr(arguments, "recalibration", prune.recalibration_images);
  if (const auto found = arguments.find("ridge"); found != arguments.end()) {
    if (!absl::SimpleAtod(found->second, &prune.ridge)) prune.ridge = 0;  // refused below
  }
  bool first = true;
  for (const std::string& criterion : List(arguments, "criteria")) {
    AMC_ASSIGN_OR_RETURN(prune.criterion, ParseCriterion(criterion));
    double start = Seconds();
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<LocalEvaluator> evaluator,
                         LocalEvaluator::Create(graph, *pack, options));
    AMC_ASSIGN_OR_RETURN(const CostModel cost, CostModel::Create(graph, evaluator->grouping()));
    if (first) {
      const Measurement& baseline = evaluator->baseline();
      std::printf("original: top-1 %.2f%%, %lld MACs, measured in %.2f s on %lld images\n",
                  100 * baseline.top1, static_cast<long long>(baseline.cost.macs),
                  Seconds() - start, static_cast<long long>(baseline.images));
      std::printf("%-9s %-6s %6s  %6s %6s  %8s %8s\n", "criterion", "rebuild", "MACs", "top-1",
                  "KL", "rebuild", "measure");
      first = false;
    }
    start = Seconds();
    AMC_RETURN_IF_ERROR(evaluator->pruner().Prepare(nullptr));
    std::printf("%-9s prepared in %.1f s\n", criterion.c_str(), Seconds() - start);
    for (const std::string& text : List(arguments, "ratios")) {
      double ratio = 0;
      if (!absl::SimpleAtod(text, &ratio)) {
        return absl::InvalidArgumentError("ratio " + text + " is no number");
      }
      const std::vector<int64_t> kept = UniformInner(evaluator->grouping(), cost, ratio);
      start = Seconds();  // scores of the criterion are found here, once
      AMC_RETURN_IF_ERROR(evaluator->pruner().Prune(kept, Reconstruction::kNone, nullptr).status());
      std::printf("%-9s chosen in %.1f s\n", criterion.c_str(), Seconds() - start);
      for (const std::string& name : List(arguments, "reconstructions")) {
        AMC_ASSIGN_OR_RETURN(const Reconstruction reconstruction, ParseReconstruction(name));
        start = Seconds();
        AMC_RETURN_IF_ERROR(evaluator->pruner().Prune(kept, reconstruction, nullptr).status());
        const double rebuild = Seconds() - start;
        start = Seconds();
        AMC_ASSIGN_OR_RETURN(
            const Measurement measured,
            evaluator->EvaluateOne({MakePolicy(evaluator->grouping(), kept)}, reconstruction));
        std::printf("%-9s %-6s %5.1f%%  %6.2f %6.3f  %7.2fs %7.2fs\n", criterion.c_str(),
                    name.c_str(),
                    100.0 * static_cast<double>(measured.cost.macs) /
                        static_cast<double>(evaluator->baseline().cost.macs),
                    100 * measured.top1, measured.kl, rebuild, Seconds() - start - rebuild);
        std::fflush(stdout);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  amc::TuneProcess(1);
  amc::Arguments arguments;
  for (int i = 3; i < argc; ++i) {
    arguments.insert(std::pair<std::string, std::string>(absl::StrSplit(argv[i], '=')));
  }
  if (argc < 3) {
    std::fprintf(stderr, "usage: reconstruction_bench MODEL.onnx DATA.pack [NAME=VALUE ...]\n");
    return 2;
  }
  if (const absl::Status status = amc::Run(argv[1], argv[2], arguments); !status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
