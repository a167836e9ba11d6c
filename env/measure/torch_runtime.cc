#include "env/measure/torch_runtime.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/exec/network.h"

namespace amc {
namespace {

using SteadyClock = std::chrono::steady_clock;

double MicrosecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

class TorchLoaded : public LoadedNetwork {
 public:
  TorchLoaded(std::unique_ptr<Network> network, std::vector<float> images, int64_t batch)
      : network_(std::move(network)), images_(std::move(images)), batch_(batch) {}

  absl::StatusOr<std::vector<double>> Time(int64_t runs) override {
    if (!warm_) {
      const SteadyClock::time_point start = SteadyClock::now();
      for (int64_t i = 0;
           i < kWarmUpRuns || MicrosecondsSince(start) < absl::ToDoubleMicroseconds(kWarmUpTime);
           ++i) {
        AMC_RETURN_IF_ERROR(network_->Run(images_, batch_).status());
      }
      warm_ = true;
    }
    std::vector<double> times;
    for (int64_t i = 0; i < runs; ++i) {
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      const SteadyClock::time_point start = SteadyClock::now();
      AMC_RETURN_IF_ERROR(network_->Run(images_, batch_).status());
      times.push_back(MicrosecondsSince(start));
    }
    return times;
  }

 private:
  const std::unique_ptr<Network> network_;
  const std::vector<float> images_;
  const int64_t batch_;
  bool warm_ = false;
};

class TorchRuntime : public Runtime {
 public:
  explicit TorchRuntime(LatencySetting setting) : Runtime(std::move(setting)) {}

  absl::StatusOr<std::unique_ptr<LoadedNetwork>> Load(const Graph& graph) override {
    AMC_ASSIGN_OR_RETURN(const Shape shape, InputShape(graph, setting().batch));
    AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(shape));
    ExecOptions options;
    options.batch_size = setting().batch;
    AMC_ASSIGN_OR_RETURN(std::unique_ptr<Network> network, Network::Create(graph, options));
    std::vector<float> images(static_cast<size_t>(elements));
    Rng rng(0);
    for (float& value : images) value = static_cast<float>(rng.Uniform(-1, 1));
    auto loaded = std::make_unique<TorchLoaded>(std::move(network), std::move(images), shape[0]);
    // Torch refuses some networks when they run; other runtimes do when they are loaded.
    AMC_RETURN_IF_ERROR(loaded->Time(0).status());
    return loaded;
  }
};

// The "1.13.1" in "...:torch1.13.1:...".
std::string TorchVersion() {
  const std::string id = NumericsId({});
  for (absl::string_view part : absl::StrSplit(id, ':')) {
    if (absl::ConsumePrefix(&part, "torch")) return std::string(part);
  }
  return "unknown";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Runtime>> CreateTorchRuntime(const RuntimeOptions& options) {
  TuneProcess(static_cast<int>(options.threads));
  return std::make_unique<TorchRuntime>(
      LatencySetting{DeviceName(), "libtorch", TorchVersion(), options.threads, options.batch});
}

}  // namespace amc
