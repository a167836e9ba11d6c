// How many steps a second the environment makes in process, one thread, random actions.
//
//   build/release/bin/env_steps [SECONDS_PER_NETWORK]     (1)
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "base/rng.h"
#include "env/amc_env.h"
#include "env/graph/zoo.h"

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::strtod(argv[1], nullptr) : 1;
  for (const char* name : {"resnet56", "mobilenetv2", "vgg16"}) {
    const auto graph = amc::BuildNetwork(name, {.weightless = true});
    if (!graph.ok()) {
      std::fprintf(stderr, "%s\n", graph.status().ToString().c_str());
      return 1;
    }
    const auto env = amc::AmcEnv::Create(*graph, {.budget = {{.ratio = 0.5}}});
    if (!env.ok()) {
      std::fprintf(stderr, "%s\n", env.status().ToString().c_str());
      return 1;
    }
    amc::Rng rng(0);
    int64_t steps = 0;
    std::chrono::duration<double> elapsed{};
    for (const auto start = std::chrono::steady_clock::now(); elapsed.count() < seconds;
         elapsed = std::chrono::steady_clock::now() - start) {
      (*env)->Reset();
      while (!(*env)->done()) {
        if (!(*env)->Step(1 - rng.Uniform()).ok()) return 1;
        ++steps;
      }
    }
    std::printf("%-12s %3zu steps an episode, %.0f steps a second\n", name, (*env)->num_steps(),
                static_cast<double>(steps) / elapsed.count());
  }
  return 0;
}
