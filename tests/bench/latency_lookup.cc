// How long looking a layer's time up in a latency table takes, and predicting a whole network:
// random tables and policies, one thread.
//
//   build/release/bin/latency_lookup [SECONDS_PER_NETWORK]     (1)
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/rng.h"
#include "env/cost/latency_layers.h"
#include "env/cost/latency_model.h"
#include "env/graph/groups.h"
#include "env/graph/zoo.h"
#include "tests/env/cost/random_latency_table.h"

namespace {

absl::Status Measure(const char* name, double seconds) {
  auto graph = amc::BuildNetwork(name, {.weightless = true});
  if (!graph.ok()) return graph.status();
  auto grouping = amc::BuildGroups(*graph);
  if (!grouping.ok()) return grouping.status();
  auto layers = amc::ListLatencyLayers(*graph, *grouping);
  if (!layers.ok()) return layers.status();
  auto model = amc::LatencyModel::Create(*graph, *grouping,
                                         amc::testing::RandomLatencyTable(*layers, 1), "");
  if (!model.ok()) return model.status();

  amc::Rng rng(0);
  std::vector<std::vector<int64_t>> policies(256);
  for (std::vector<int64_t>& kept : policies) {
    for (const amc::PruneGroup& group : grouping->groups) {
      const auto steps = static_cast<uint64_t>(group.channels / group.cells);
      kept.push_back(group.cells * (1 + static_cast<int64_t>(rng.Below(steps))));
    }
  }
  int64_t networks = 0;
  int64_t sum = 0;
  std::chrono::duration<double> elapsed{};
  for (const auto start = std::chrono::steady_clock::now(); elapsed.count() < seconds;
       elapsed = std::chrono::steady_clock::now() - start) {
    for (const std::vector<int64_t>& kept : policies) sum += model->Evaluate(kept);
    networks += static_cast<int64_t>(policies.size());
  }
  const double us = elapsed.count() / static_cast<double>(networks) * 1e6;
  std::printf("%-12s %3zu layers, %.1f ns a layer, %.2f us a network (mean prediction %.1f us)\n",
              name, layers->layers.size(), us * 1e3 / static_cast<double>(layers->layers.size()),
              us, static_cast<double>(sum) / static_cast<double>(networks) * 1e-3);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::strtod(argv[1], nullptr) : 1;
  for (const char* name : {"resnet56", "mobilenetv2"}) {
    const absl::Status status = Measure(name, seconds);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      return 1;
    }
  }
  return 0;
}
