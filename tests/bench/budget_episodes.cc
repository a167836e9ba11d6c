// Do budgets hold? Over random and agent episodes on ResNet-56 (32 x 32), MobileNetV2 and VGG-16
// (224 x 224) at 0.7, 0.5, 0.3 and 0.2 of the MACs, with channel multiples 1 and 8: how many
// executed policies exceed the budget, counted on the shrunk graph for all and on the exported file
// for some. The reference's rule breaks up to 100% of such episodes.
//
//   build/release/bin/budget_episodes [RANDOM [AGENT [EXPORTED]]]     (10000 1000 20)
//
// Exits with 1 if a policy is over its budget, or counts disagree.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "env/graph/zoo.h"
#include "tests/bench/budget_cell.h"

namespace amc {
namespace {

absl::StatusOr<bool> RunAll(int64_t random, int64_t agent, int64_t exported) {
  bool held = true;
  std::printf("%-12s %8s %6s %8s %8s %8s %8s %5s %9s %7s  %s\n", "network", "multiple", "target",
              "episodes", "exported", "least", "worst", "over", "disagree", "s",
              "smallest reachable");
  for (const auto& [name, size] :
       {std::pair("resnet56", 32), {"mobilenetv2", 224}, {"vgg16", 224}}) {
    ZooOptions zoo{.height = size, .width = size, .weightless = true};
    AMC_ASSIGN_OR_RETURN(const Graph weightless, BuildNetwork(name, zoo));
    AMC_ASSIGN_OR_RETURN(const Cost original, CountCost(weightless));
    zoo.weightless = exported == 0;
    AMC_ASSIGN_OR_RETURN(const Graph weights, BuildNetwork(name, zoo));
    for (const int64_t multiple : {1, 8}) {
      AMC_ASSIGN_OR_RETURN(const int64_t minimum, BruteForceMinimum(weightless, multiple));
      for (const double target : {0.7, 0.5, 0.3, 0.2}) {
        const auto start = std::chrono::steady_clock::now();
        AMC_ASSIGN_OR_RETURN(
            const BudgetCellResult result,
            RunBudgetCell(weightless, exported > 0 ? &weights : nullptr,
                          {.target = target,
                           .multiple = multiple,
                           .random_episodes = random,
                           .agent_episodes = agent,
                           .exported = exported,
                           .seed = static_cast<uint64_t>(1000 * target) + multiple}));
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        std::printf("%-12s %8ld %6.2f %8ld %8ld %8.5f %8.5f %5ld %9ld %7.1f  %.5f%s\n", name,
                    static_cast<long>(multiple), target, static_cast<long>(result.episodes),
                    static_cast<long>(result.exported), result.least, result.worst,
                    static_cast<long>(result.over), static_cast<long>(result.disagreeing),
                    seconds.count(),
                    static_cast<double>(minimum) / static_cast<double>(original.macs),
                    result.refusal.empty() ? "" : (" refused: " + result.refusal).c_str());
        std::fflush(stdout);
        held = held && result.over == 0 && result.disagreeing == 0;
      }
    }
  }
  return held;
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  const auto argument = [&](int i, int64_t otherwise) {
    return i < argc ? std::strtoll(argv[i], nullptr, 10) : otherwise;
  };
  const auto held = amc::RunAll(argument(1, 10000), argument(2, 1000), argument(3, 20));
  if (!held.ok()) {
    std::fprintf(stderr, "%s\n", held.status().ToString().c_str());
    return 1;
  }
  return *held ? 0 : 1;
}
