// How close searches come to the best policy of made-up networks (tests/agent/landscape.h).
//
//   search_quality [--network resnet56] [--target 0.5] [--seeds 10] [--top1] [--parallel 2]
//                  [--images 5000] AGENT:EVALUATIONS...
//   search_quality hybrid:40 hybrid:200 dp:200 random:400
//
// Prints one line per agent: mean and standard error over the seeds of log(KL / least KL), what was
// measured, and seconds per run. "hybrid-surrogate" is hybrid without its surrogate, likewise
// -probes, -screening and -plan; "evolution+dp" starts from dp's plan.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "env/amc_env.h"
#include "env/graph/zoo.h"
#include "tests/agent/landscape.h"

namespace amc {
namespace {

struct Settings {
  std::string network = "resnet56";
  double target = 0.5;
  int seeds = 10;
  bool top1 = false;
  int64_t parallel = 2, images = 5000;
  LandscapeOptions landscape;
  std::vector<std::string> agents;
};

std::string Name(const std::string& agent, AgentOptions& options) {
  const size_t minus = agent.find('-'), plus = agent.find('+');
  if (agent == "evolution+dp") options.evolution.start = "dp";
  if (plus != std::string::npos) return agent.substr(0, plus);
  if (agent.compare(0, 7, "hybrid-") != 0) return agent;
  const std::string part = agent.substr(minus + 1);
  if (part == "probes") options.hybrid.probes = false;
  if (part == "surrogate") options.hybrid.surrogate = false;
  if (part == "screening") options.hybrid.screening = false;
  if (part == "plan") options.hybrid.plan = false;
  return "hybrid";
}

int Run(const Settings& settings) {
  const auto graph = BuildNetwork(settings.network, {.weightless = true});
  if (!graph.ok()) return 1;
  const auto env = AmcEnv::Create(
      *graph, {.budget = {{.ratio = settings.target}}, .keep_residual = settings.target > 0.25});
  if (!env.ok()) return 1;
  for (const std::string& each : settings.agents) {
    const size_t colon = each.find(':');
    const int64_t evaluations =
        colon == std::string::npos ? 200 : std::atoll(each.c_str() + colon + 1);
    double sum = 0, squares = 0;
    LandscapeRun last;
    const auto begin = std::chrono::steady_clock::now();
    for (int seed = 0; seed < settings.seeds; ++seed) {
      LandscapeOptions options = settings.landscape;
      options.seed = static_cast<uint64_t>(seed);
      options.images = settings.images;
      const Landscape landscape(**env, options);
      AgentOptions agent_options;
      agent_options.seed = static_cast<uint64_t>(seed);
      agent_options.reward_images = settings.images;
      const std::string name = Name(each.substr(0, colon), agent_options);
      last = SearchLandscape(landscape, **env, name, agent_options, evaluations, settings.parallel,
                             settings.top1);
      sum += last.regret;
      squares += last.regret * last.regret;
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const double mean = sum / settings.seeds;
    const double deviation = std::sqrt(std::max(0.0, squares / settings.seeds - mean * mean));
    std::printf(
        "%-22s %.4f +- %.4f  %3ld candidates %4ld screenings %3ld probes  spent %.1f  budget "
        "%.4f  %.2f s\n",
        each.c_str(), mean, deviation / std::sqrt(settings.seeds), last.candidates, last.screenings,
        last.probes, last.spent, last.share, seconds / settings.seeds);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  amc::Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--network") {
      settings.network = value, ++i;
    } else if (flag == "--target") {
      settings.target = std::atof(value), ++i;
    } else if (flag == "--seeds") {
      settings.seeds = std::atoi(value), ++i;
    } else if (flag == "--parallel") {
      settings.parallel = std::atoll(value), ++i;
    } else if (flag == "--images") {
      settings.images = std::atoll(value), ++i;
    } else if (flag == "--context") {
      settings.landscape.context = std::atof(value), ++i;
    } else if (flag == "--interaction") {
      settings.landscape.interaction = std::atof(value), ++i;
    } else if (flag == "--quirk") {
      settings.landscape.quirk = std::atof(value), ++i;
    } else if (flag == "--noise") {
      settings.landscape.noise = std::atof(value), ++i;
    } else if (flag == "--top1") {
      settings.top1 = true;
    } else {
      settings.agents.push_back(flag);
    }
  }
  return amc::Run(settings);
}
