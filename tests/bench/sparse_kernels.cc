// At which density sparse kernels beat dense ones on this machine: CSR (ours and Eigen's) and
// XNNPACK's against a dense product (libtorch through OpenBLAS), and XNNPACK's dense one. One
// thread. `sparse_kernels --help` says how to run it.
//
// All kernels of a layer are timed against one another in bursts in random order (sampler.h), and
// figures are the dense product's time over the kernel's: 2 is twice as fast. Weights are packed
// beforehand and outputs compared with the dense product. Zeros are at random places. Products of
// one vector with megabytes of weights depend on how much of the cache other processes leave.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/exec/exec_options.h"
#include "env/measure/runtime.h"
#include "env/measure/sampler.h"
#include "tests/bench/sparse_contenders.h"
#include "tests/bench/sparse_report.h"

namespace amc::bench {
namespace {

constexpr int kWarmUpRuns = 10;
constexpr double kWarmUpUs = 20000;
constexpr int64_t kMinBursts = 15;

constexpr char kHelp[] = R"(usage: sparse_kernels [OPTION...]

Times sparse kernels against dense ones on one thread and prints how much faster they are.

  --layers LIST      convC_INxC_OUT@HxW (1x1 convolutions) and linearINxOUTxBATCH; default
                     conv64x64@28x28,conv128x128@14x14,conv256x256@14x14,conv512x512@7x7,
                     linear4096x4096x1,linear4096x4096x64
  --densities LIST   ascending; default 0.01,0.02,0.05,0.1,0.2,0.3,0.5
  --tolerance T      relative standard error of a time; default 0.02
  --seed N           of the weights; default 0
  --csv FILE         writes a table: layer,rows,columns,vectors,kernel,density,us,dense_us,speedup
  --json FILE        writes the same as JSON
  --plot FILE        writes a chart of speedup against density as SVG
  --help

Example: what a 1x1 convolution of 96 channels on 20x20 gains at densities around break-even

  build/release/bin/sparse_kernels --layers conv96x96@20x20 --densities 0.1,0.15,0.2,0.25 \
      --csv times.csv
)";

struct Layer {
  std::string name = {};
  int64_t columns = 0, rows = 0, vectors = 0;
  bool conv = false;
};

struct Options {
  std::vector<Layer> layers = {};
  std::vector<double> densities = {};
  double tolerance = 0.02;
  uint64_t seed = 0;
  std::string csv = {}, json = {}, plot = {};
};

absl::StatusOr<Layer> ParseLayer(absl::string_view text) {
  Layer layer{.name = std::string(text)};
  layer.conv = absl::ConsumePrefix(&text, "conv");
  if (!layer.conv) absl::ConsumePrefix(&text, "linear");
  const std::vector<std::string> numbers = absl::StrSplit(text, absl::ByAnyChar("x@"));
  std::vector<int64_t> sizes;
  for (const std::string& number : numbers) {
    int64_t size = 0;
    if (absl::SimpleAtoi(number, &size) && size > 0 && size <= 65536) sizes.push_back(size);
  }
  if (sizes.size() != numbers.size() || sizes.size() != (layer.conv ? 4 : 3)) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer \"", layer.name, "\", want conv64x64@28x28 or linear4096x4096x64"));
  }
  layer.columns = sizes[0];
  layer.rows = sizes[1];
  layer.vectors = sizes[2] * (layer.conv ? sizes[3] : 1);
  return layer;
}

absl::StatusOr<Options> ParseOptions(std::vector<std::string> arguments) {
  Options options;
  std::string layers =
      "conv64x64@28x28,conv128x128@14x14,conv256x256@14x14,conv512x512@7x7,linear4096x4096x1,"
      "linear4096x4096x64";
  std::string densities = "0.01,0.02,0.05,0.1,0.2,0.3,0.5";
  if (arguments.size() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("no value after ", arguments.back()));
  }
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    const std::string& value = arguments[i + 1];
    bool good = true;
    if (name == "--layers") {
      layers = value;
    } else if (name == "--densities") {
      densities = value;
    } else if (name == "--tolerance") {
      good = absl::SimpleAtod(value, &options.tolerance) && options.tolerance > 0;
    } else if (name == "--seed") {
      good = absl::SimpleAtoi(value, &options.seed);
    } else if (name == "--csv") {
      options.csv = value;
    } else if (name == "--json") {
      options.json = value;
    } else if (name == "--plot") {
      options.plot = value;
    } else {
      good = false;
    }
    if (!good) return absl::InvalidArgumentError(absl::StrCat("option ", name, " ", value));
  }
  for (const absl::string_view layer : absl::StrSplit(layers, ',')) {
    AMC_ASSIGN_OR_RETURN(options.layers.emplace_back(), ParseLayer(layer));
  }
  for (const absl::string_view text : absl::StrSplit(densities, ',')) {
    double density = 0;
    const double last = options.densities.empty() ? 0 : options.densities.back();
    if (!absl::SimpleAtod(text, &density) || density <= last || density > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("densities ", densities, ", want ascending ones of up to 1"));
    }
    options.densities.push_back(density);
  }
  return options;
}

// Progress and what is left, on stderr if that is a terminal.
class Progress {
 public:
  explicit Progress(size_t layers) : layers_(layers) {}
  void Show(size_t layer, double share) {
    if (::isatty(STDERR_FILENO) != 1) return;
    const double done = (static_cast<double>(layer) + share) / static_cast<double>(layers_);
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start_;
    std::fprintf(stderr, "\r%3.0f%%, %.0f s left   ", 100 * done,
                 done > 0 ? spent.count() * (1 - done) / done : 0.0);
    if (done >= 1) std::fprintf(stderr, "\n");
  }

 private:
  const size_t layers_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::vector<float> RandomInputs(int64_t count, Rng& rng) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(rng.Uniform(-1, 1));
  return values;
}

DenseMatrix RandomMatrix(const Layer& layer, double density, Rng& rng) {
  DenseMatrix matrix{layer.rows, layer.columns};
  matrix.values.resize(static_cast<size_t>(layer.rows * layer.columns));
  for (float& value : matrix.values) {
    if (rng.Uniform() < density) value = static_cast<float>(rng.Uniform(-1, 1));
  }
  return matrix;
}

absl::Status CheckProduct(const Contender& contender, const std::vector<float>& expected) {
  AMC_RETURN_IF_ERROR(contender.run());
  const std::vector<float> product = contender.product();
  float largest = 0, error = 0;
  for (size_t i = 0; i < expected.size() && product.size() == expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    error = std::max(error, std::abs(product[i] - expected[i]));
  }
  if (product.size() == expected.size() && error <= 1e-4f * largest) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(contender.name, " computes ", product.size(), " sums of ",
                                          expected.size(), " with errors of up to ", error));
}

double MicrosecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

// Each burst first runs untimed, as caches of several megabytes take a few runs to fill with what
// another contender's burst has thrown out.
SampledItem Timed(const Contender& contender) {
  return {.time = [&contender](int64_t runs) -> absl::StatusOr<std::vector<double>> {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kWarmUpRuns && MicrosecondsSince(begin) < kWarmUpUs; ++i) {
      AMC_RETURN_IF_ERROR(contender.run());
    }
    std::vector<double> times;
    for (int64_t i = 0; i < runs; ++i) {
      const auto start = std::chrono::steady_clock::now();
      AMC_RETURN_IF_ERROR(contender.run());
      times.push_back(MicrosecondsSince(start));
    }
    return times;
  }};
}

absl::StatusOr<LayerTimes> Measure(const Layer& layer, const Options& options,
                                   const Sampler::Progress& progress) {
  Rng rng(options.seed);
  const std::vector<float> inputs = RandomInputs(layer.columns * layer.vectors, rng);
  const DenseMatrix full = RandomMatrix(layer, 1, rng);
  const Contender dense = DenseContender(full, inputs, layer.vectors);
  AMC_RETURN_IF_ERROR(dense.run());
  std::vector<Contender> contenders;
  AMC_ASSIGN_OR_RETURN(contenders.emplace_back(),
                       XnnpackContender(full, inputs, layer.vectors, /*sparse=*/false));
  AMC_RETURN_IF_ERROR(CheckProduct(contenders.back(), dense.product()));
  for (const double density : options.densities) {
    const DenseMatrix pruned = RandomMatrix(layer, density, rng);
    const Contender same = DenseContender(pruned, inputs, layer.vectors);
    AMC_RETURN_IF_ERROR(same.run());
    const size_t first = contenders.size();
    const auto csr = std::make_shared<const CsrMatrix>(ToCsr(pruned));
    contenders.push_back(CsrContender(csr, inputs, layer.vectors));
    contenders.push_back(EigenContender(csr, inputs, layer.vectors));
    if (layer.conv) {
      AMC_ASSIGN_OR_RETURN(contenders.emplace_back(),
                           XnnpackContender(pruned, inputs, layer.vectors, /*sparse=*/true));
    }
    for (size_t i = first; i < contenders.size(); ++i) {
      AMC_RETURN_IF_ERROR(CheckProduct(contenders[i], same.product()));
    }
  }
  std::vector<SampledItem> items;
  for (const Contender& contender : contenders) items.push_back(Timed(contender));
  Sampler sampler(Timed(dense).time, {.tolerance = options.tolerance, .min_bursts = kMinBursts});
  AMC_ASSIGN_OR_RETURN(const std::vector<Sampled> sampled, sampler.Measure(items, progress));

  LayerTimes times{layer.name, layer.rows, layer.columns, layer.vectors, sampler.reference_us()};
  const size_t sparse = layer.conv ? 3 : 2;  // contenders of each density
  for (size_t k = 0; k < sparse; ++k) {
    KernelTimes& kernel = times.kernels.emplace_back();
    kernel.kernel = contenders[1 + k].name;
    for (size_t d = 0; d < options.densities.size(); ++d) {
      kernel.speedups.push_back(1 / sampled[1 + d * sparse + k].median);
    }
  }
  times.kernels.push_back(
      {contenders[0].name, std::vector<double>(options.densities.size(), 1 / sampled[0].median)});
  return times;
}

absl::Status Run(const Options& options) {
  TuneProcess(1);
  SparseReport report{DeviceName(), options.densities};
  std::printf("%s, one thread; %s\nspeed relative to dense\n", report.device.c_str(),
              NumericsId({}).c_str());
  Progress progress(options.layers.size());
  for (size_t i = 0; i < options.layers.size(); ++i) {
    const auto show = [&](size_t stable, size_t items) {
      progress.Show(i, static_cast<double>(stable) / static_cast<double>(items));
    };
    AMC_ASSIGN_OR_RETURN(report.layers.emplace_back(), Measure(options.layers[i], options, show));
  }
  std::fputs(ToTable(report).c_str(), stdout);
  if (!options.csv.empty()) AMC_RETURN_IF_ERROR(WriteFileAtomically(options.csv, ToCsv(report)));
  if (!options.json.empty()) AMC_RETURN_IF_ERROR(WriteFileAtomically(options.json, ToJson(report)));
  if (!options.plot.empty()) AMC_RETURN_IF_ERROR(WriteFileAtomically(options.plot, ToSvg(report)));
  return absl::OkStatus();
}

}  // namespace
}  // namespace amc::bench

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    std::fputs(amc::bench::kHelp, stdout);
    return 0;
  }
  const auto options = amc::bench::ParseOptions(arguments);
  if (!options.ok()) {
    std::fprintf(stderr, "sparse_kernels: %s; --help says what there is\n",
                 std::string(options.status().message()).c_str());
    return 2;
  }
  const absl::Status status = amc::bench::Run(*options);
  if (!status.ok()) {
    std::fprintf(stderr, "sparse_kernels: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
