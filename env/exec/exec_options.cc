#include "env/exec/exec_options.h"

#include <malloc.h>

#include <cctype>
#include <string>

#include "absl/strings/str_cat.h"
#include "env/exec/torch_api.h"
//
#include <ATen/Version.h>
#include <torch/version.h>

namespace amc {
namespace {

// "avx512", "avx2", "default": the kernels that libtorch picked on this machine. Its own accessor
// changed its name between releases; the line in the configuration report did not.
std::string CpuCapability() {
  constexpr absl::string_view kKey = "CPU capability usage: ";
  const std::string config = at::show_config();
  const size_t start = config.find(kKey.data());
  if (start == std::string::npos) return "unknown";
  std::string name;
  for (size_t i = start + kKey.size(); i < config.size() && std::isalnum(config[i]) != 0; ++i) {
    name += static_cast<char>(std::tolower(config[i]));
  }
  return name.empty() ? "default" : name;
}

}  // namespace

absl::StatusOr<Device> ParseDevice(absl::string_view name) {
  if (name == "cpu") return Device::kCpu;
  if (name == "cuda") return Device::kCuda;
  return absl::InvalidArgumentError(absl::StrCat("device \"", name, "\" is none of cpu, cuda"));
}

absl::StatusOr<Precision> ParsePrecision(absl::string_view name) {
  if (name == "fp32") return Precision::kFloat32;
  if (name == "bf16") return Precision::kBfloat16;
  return absl::InvalidArgumentError(absl::StrCat("precision \"", name, "\" is none of fp32, bf16"));
}

void TuneProcess(int threads) {
  // Activations of a few megabytes come and go with every layer: without these settings glibc maps
  // and unmaps fresh zeroed pages for each (STACK.md, "Running fast").
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_ARENA_MAX, 1);
  if (threads > 0) at::set_num_threads(threads);
}

int NumThreads() { return at::get_num_threads(); }

std::string NumericsId(const ExecOptions& options) {
  const std::string device =
      options.device == Device::kCuda ? "cuda" : absl::StrCat("cpu:", CpuCapability());
  return absl::StrCat(device, ":torch", TORCH_VERSION, ":threads", NumThreads(), ":batch",
                      options.batch_size, ":",
                      options.precision == Precision::kBfloat16 ? "bf16" : "fp32");
}

absl::Status CheckDevice(Device device) {
  if (device == Device::kCpu || at::globalContext().hasCUDA()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "cuda asked for, but libtorch finds no CUDA device: build against a libtorch with CUDA, "
      "check "
      "nvidia-smi, or use device cpu");
}

}  // namespace amc
