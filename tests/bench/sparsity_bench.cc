// What each granularity of sparsity within weights costs in accuracy, without and with
// reconstruction, and how long that takes.
//
//   sparsity_bench MODEL.onnx DATA.pack [images=N] [ridge=X] [recalibration=N]
//   [cases=element:128/256,nm:2/4]
//
// Every layer that has such units gets the same share; layers that have none stay dense. Prints a
// row for each case: non-zero weights of all that layers have, layers left dense, top-1 on the
// reward images without and with reconstruction, CPU seconds of one thread. 2:4 comes twice: as the
// file orders its channels, and in the order that keeps most magnitude.
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/exec/evaluate.h"
#include "env/graph/onnx_import.h"
#include "env/prune/network_permutation.h"
#include "env/prune/sparsifier.h"

namespace amc {
namespace {

constexpr char kCases[] =
    "element:128/256,element:77/256,element:51/256,element:26/256,nm:2/4,nm:1/4,vector:128/256,"
    "kernel:128/256,pattern:256/256,block:128/256";

// Of this process's one thread, so that other work on the machine does not count.
double Seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// "nm:2/4".
absl::StatusOr<SparseDecision> ParseCase(absl::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::ByAnyChar(":/"));
  SparseDecision decision;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[1], &decision.kept) ||
      !absl::SimpleAtoi(parts[2], &decision.of)) {
    return absl::InvalidArgumentError(absl::StrCat("case ", text, ", want nm:2/4"));
  }
  AMC_ASSIGN_OR_RETURN(decision.granularity, ParseGranularity(parts[0]));
  return decision;
}

class Bench {
 public:
  Bench(const DataPack& pack, int64_t images, const SparsifyOptions& options)
      : pack_(pack), images_(images), options_(options) {}

  absl::StatusOr<double> Top1(const Graph& graph) const {
    EvaluateOptions evaluate;
    evaluate.max_images = images_;
    AMC_ASSIGN_OR_RETURN(const Quality quality, Evaluate(graph, pack_, Split::kReward, evaluate));
    return 100 * quality.top1;
  }

  absl::Status Run(const std::string& name, const SparseDecision& decision,
                   Sparsifier& sparsifier) const {
    std::vector<SparseDecision> decisions;
    int64_t kept = 0, weights = 0, dense = 0;
    for (const LayerWeights& layer : sparsifier.layers()) {
      const auto units = CountUnits(layer, decision, options_.sparsity);
      const auto size = static_cast<int64_t>(layer.values.size());
      weights += size;
      kept += units.ok() ? units->kept_weights() : size;
      dense += units.ok() ? 0 : 1;
      if (!units.ok()) continue;
      decisions.push_back(decision);
      decisions.back().target = layer.name;
    }
    double start = Seconds();
    AMC_ASSIGN_OR_RETURN(const SparseNetwork masked,
                         sparsifier.Sparsify(decisions, /*reconstruct=*/false, nullptr));
    const double mask_seconds = Seconds() - start;
    start = Seconds();
    AMC_ASSIGN_OR_RETURN(const SparseNetwork fitted,
                         sparsifier.Sparsify(decisions, /*reconstruct=*/true, nullptr));
    const double fit_seconds = Seconds() - start;
    AMC_ASSIGN_OR_RETURN(const double without, Top1(masked.graph));
    AMC_ASSIGN_OR_RETURN(const double with, Top1(fitted.graph));
    std::printf("%-18s %6.1f%% %5lld  %6.2f %6.2f  %6.2fs %6.2fs\n", name.c_str(),
                100.0 * static_cast<double>(kept) / static_cast<double>(weights),
                static_cast<long long>(dense), without, with, mask_seconds, fit_seconds);
    std::fflush(stdout);
    return absl::OkStatus();
  }

 private:
  const DataPack& pack_;
  const int64_t images_;
  const SparsifyOptions options_;
};

absl::Status Run(const std::string& model, const std::string& data,
                 std::map<std::string, std::string> arguments) {
  arguments.try_emplace("images", "2000");
  arguments.try_emplace("ridge", "1e-4");
  arguments.try_emplace("recalibration", "128");
  arguments.try_emplace("cases", kCases);
  SparsifyOptions options;
  int64_t images = 0;
  if (!absl::SimpleAtoi(arguments["images"], &images) ||
      !absl::SimpleAtoi(arguments["recalibration"], &options.recalibration_images) ||
      !absl::SimpleAtod(arguments["ridge"], &options.ridge)) {
    return absl::InvalidArgumentError("images, ridge and recalibration are numbers");
  }
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model));
  AMC_ASSIGN_OR_RETURN(const Graph graph, ImportOnnx(bytes));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<DataPack> pack, DataPack::Open(data));
  const Bench bench(*pack, images, options);
  AMC_ASSIGN_OR_RETURN(const double dense, bench.Top1(graph));
  double start = Seconds();
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(graph));
  AMC_ASSIGN_OR_RETURN(const NetworkPermutation permutation, FindPermutations(graph, grouping, {}));
  AMC_ASSIGN_OR_RETURN(const Graph permuted, PermuteChannels(graph, grouping, permutation.orders));
  AMC_ASSIGN_OR_RETURN(const double same, bench.Top1(permuted));
  std::printf("dense: top-1 %.2f%%; permuted for 2:4 in %.1f s: %.2f%%, keeps %.2f%% more\n", dense,
              Seconds() - start, same,
              100 * (permutation.kept_after / permutation.kept_before - 1));
  start = Seconds();
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Sparsifier> sparsifier,
                       Sparsifier::Create(graph, *pack, options));
  AMC_RETURN_IF_ERROR(sparsifier->Prepare(nullptr));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Sparsifier> reordered,
                       Sparsifier::Create(permuted, *pack, options));
  std::printf("prepared in %.1f s\n%-18s %7s %5s  %6s %6s  %7s %7s\n", Seconds() - start, "case",
              "kept", "dense", "masked", "fitted", "mask", "fit");
  const std::vector<std::string> cases = absl::StrSplit(arguments["cases"], ',');
  for (const std::string& text : cases) {
    AMC_ASSIGN_OR_RETURN(const SparseDecision decision, ParseCase(text));
    AMC_RETURN_IF_ERROR(bench.Run(text, decision, *sparsifier));
    if (text != "nm:2/4") continue;
    AMC_RETURN_IF_ERROR(reordered->Prepare(nullptr));
    AMC_RETURN_IF_ERROR(bench.Run(text + " permuted", decision, *reordered));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  amc::TuneProcess(1);
  std::map<std::string, std::string> arguments;
  for (int i = 3; i < argc; ++i) {
    arguments.insert(std::pair<std::string, std::string>(absl::StrSplit(argv[i], '=')));
  }
  if (argc < 3) {
    std::fprintf(stderr, "usage: sparsity_bench MODEL.onnx DATA.pack [NAME=VALUE ...]\n");
    return 2;
  }
  if (const absl::Status status = amc::Run(argv[1], argv[2], arguments); !status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
