// What Cambricon-X and Cnvlutin gain on a network from zeros that fall independently, simulated,
// beside what their papers publish for trained networks.
//
//   build/release/bin/accelerator_speed [--network NAME] [--size PIXELS] [--weights DENSITY]
//                                       [--inputs DENSITY]            (vgg16 224 0.33 0.56)
//
// The defaults are from memory: of the multiplications in Cnvlutin's networks 44% have an
// activation of zero, and Deep Compression leaves about a third of the weights of VGG-16's
// convolutions. Cambricon-X is held against itself with dense weights, whose 256 multipliers are as
// many as DianNao's; its paper's figure is of whole networks, memory and mostly empty linear layers
// included, and does not compare. As in Cnvlutin's paper the network's first layer takes the
// baseline's time.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/status_macros.h"
#include "env/backend/cambricon_x.h"
#include "env/backend/cnvlutin.h"
#include "env/graph/zoo.h"

namespace {

struct Options {
  std::string network = "vgg16";
  int64_t size = 224;
  double weights = 0.33, inputs = 0.56;
};

void Sparsify(std::vector<float>& values, double density, amc::Rng& rng) {
  for (float& value : values) {
    if (rng.Uniform() >= density) value = 0;
  }
}

absl::Status Report(const Options& options) {
  AMC_ASSIGN_OR_RETURN(
      const amc::Graph graph,
      amc::BuildNetwork(options.network, {.height = options.size, .width = options.size}));
  AMC_ASSIGN_OR_RETURN(std::vector<amc::LayerWeights> layers, amc::ListLayerWeights(graph));
  std::printf(
      "%s, %lld x %lld, %.2f of the weights, %.2f of the inputs\n"
      "thousands of cycles  Cambricon-X     dense  speed   Cnvlutin  baseline  speed\n",
      options.network.c_str(), static_cast<long long>(options.size),
      static_cast<long long>(options.size), options.weights, options.inputs);
  amc::Rng rng(0);
  double sums[4] = {};
  for (size_t i = 0; i < layers.size(); ++i) {
    amc::LayerWeights& layer = layers[i];
    if (layer.conv.groups > 1) continue;  // neither runs them
    amc::LayerInput input;
    input.values.assign(layer.channels * layer.input_size[0] * layer.input_size[1], 1.0f);
    if (i > 0) Sparsify(input.values, options.inputs, rng);
    std::fill(layer.values.begin(), layer.values.end(), 1.0f);
    AMC_ASSIGN_OR_RETURN(const amc::BackendCost dense, amc::CambriconXBackend().Cost(layer, input));
    Sparsify(layer.values, options.weights, rng);
    AMC_ASSIGN_OR_RETURN(const amc::BackendCost sparse,
                         amc::CambriconXBackend().Cost(layer, input));
    const amc::CnvlutinCycles cnvlutin = amc::CountCnvlutinCycles(layer, input);
    const double cycles[4] = {static_cast<double>(sparse.cycles), static_cast<double>(dense.cycles),
                              static_cast<double>(i == 0 ? cnvlutin.baseline : cnvlutin.cycles),
                              static_cast<double>(cnvlutin.baseline)};
    for (size_t k = 0; k < 4; ++k) sums[k] += cycles[k];
    std::printf("%-20.20s %11.1f %9.1f  %5.2f %10.1f %9.1f  %5.2f\n", layer.name.c_str(),
                cycles[0] / 1e3, cycles[1] / 1e3, cycles[1] / cycles[0], cycles[2] / 1e3,
                cycles[3] / 1e3, cycles[3] / cycles[2]);
  }
  std::printf("%-20s %11.1f %9.1f  %5.2f %10.1f %9.1f  %5.2f\n", "all", sums[0] / 1e3,
              sums[1] / 1e3, sums[1] / sums[0], sums[2] / 1e3, sums[3] / 1e3, sums[3] / sums[2]);
  std::printf(
      "published: Cambricon-X 7.23 over DianNao; Cnvlutin 1.37 on average (1.24 to 1.55)\n");
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--network") == 0) options.network = argv[i + 1];
    if (std::strcmp(argv[i], "--size") == 0) options.size = std::atoll(argv[i + 1]);
    if (std::strcmp(argv[i], "--weights") == 0) options.weights = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--inputs") == 0) options.inputs = std::atof(argv[i + 1]);
  }
  if (const absl::Status status = Report(options); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
