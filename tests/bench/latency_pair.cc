// How long two ONNX files take on one runtime, timed in turns: what a job's result says of its
// winner, measured anew.
//
//   latency_pair ORIGINAL.onnx OTHER.onnx RUNTIME [THREADS]
//
// Prints a line of JSON: microseconds of both, their ratio, and how far two measurements of the
// other differ.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "env/graph/onnx_import.h"
#include "env/measure/measure_networks.h"
#include "env/measure/runtime.h"

namespace amc {
namespace {

absl::StatusOr<std::vector<NetworkTime>> TimeBoth(const std::vector<std::string>& paths,
                                                  const std::string& name, int64_t threads) {
  std::vector<Graph> networks;
  for (const std::string& path : paths) {
    AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    AMC_ASSIGN_OR_RETURN(networks.emplace_back(), ImportOnnx(bytes));
  }
  AMC_ASSIGN_OR_RETURN(const auto runtime, CreateRuntime(name, {.threads = threads}));
  MeasureOptions options;
  options.sampler.tolerance = 0.01;
  return MeasureNetworks(*runtime, networks, options, nullptr);
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::fprintf(stderr, "usage: latency_pair ORIGINAL.onnx OTHER.onnx RUNTIME [THREADS]\n");
    return 2;
  }
  const auto times = amc::TimeBoth({argv[1], argv[2]}, argv[3], argc > 4 ? std::atoll(argv[4]) : 1);
  if (!times.ok()) {
    std::fprintf(stderr, "latency_pair: %s\n", std::string(times.status().message()).c_str());
    return 1;
  }
  const amc::NetworkTime& original = (*times)[0];
  const amc::NetworkTime& other = (*times)[1];
  std::printf(
      "{\"original_us\": %.2f, \"other_us\": %.2f, \"ratio\": %.5f, \"repeatability\": %.5f}\n",
      original.median_us, other.median_us, other.median_us / original.median_us,
      other.repeatability);
  return 0;
}
