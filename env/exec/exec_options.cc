#include "env/exec/exec_options.h"

#include <dlfcn.h>
#include <malloc.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/sha256.h"
#include "env/exec/torch_api.h"
//
#include <torch/version.h>

namespace amc {
namespace {

// "openblas0.3.21-SkylakeX": the version and the kernels that it chose; empty for another BLAS.
std::string BlasId() {
  using Text = char* (*)();
  const auto config = reinterpret_cast<Text>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
  const auto core = reinterpret_cast<Text>(dlsym(RTLD_DEFAULT, "openblas_get_corename"));
  if (config == nullptr || core == nullptr) return "";
  const std::vector<std::string> words = absl::StrSplit(config(), ' ');  // "OpenBLAS 0.3.21 ..."
  return absl::StrCat(":openblas", words.size() > 1 ? words[1] : "", "-", core());
}

// The widest of the instruction sets by which libtorch, oneDNN and OpenBLAS choose their kernels.
std::string InstructionSet() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) return "avx512_bf16";
  if (__builtin_cpu_supports("avx512vnni")) return "avx512_vnni";
  if (__builtin_cpu_supports("avx512f")) return "avx512";
  if (__builtin_cpu_supports("avx2")) return "avx2";
  return "x86_64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "generic";
#endif
}

// What follows `name` on its line.
std::string Field(absl::string_view text, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, name)) return std::string(absl::StripAsciiWhitespace(line));
  }
  return "";
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
  // and unmaps fresh zeroed pages for each.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_ARENA_MAX, 1);
  if (threads <= 0) return;
  at::set_num_threads(threads);
  // libtorch tells OpenBLAS only through OpenMP; its pthread build has a count of its own, and sums
  // in another order with another count.
  using SetThreads = void (*)(int);
  if (const auto set =
          reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
      set != nullptr) {
    set(threads);
  }
}

int NumThreads() { return at::get_num_threads(); }

std::string NumericsId(const ExecOptions& options) {
  const std::string device = options.device == Device::kCuda
                                 ? absl::StrCat("cuda:", GpuId(), ":", InstructionSet())
                                 : absl::StrCat("cpu:", InstructionSet());
  return absl::StrCat(device, ":torch", TORCH_VERSION, BlasId(), ":threads", NumThreads(), ":batch",
                      options.batch_size, ":",
                      options.precision == Precision::kBfloat16 ? "bf16" : "fp32");
}

std::string GpuId() {
  if (!at::globalContext().hasCUDA()) return "";
  std::string model = "gpu", driver = "unknown";
  std::error_code error;
  for (std::filesystem::directory_iterator gpu("/proc/driver/nvidia/gpus", error), end;
       !error && gpu != end; gpu.increment(error)) {
    const absl::StatusOr<std::string> information = ReadFile(gpu->path() / "information");
    if (information.ok()) model = Field(*information, "Model:");
    break;  // the device that is used
  }
  const absl::StatusOr<std::string> version = ReadFile("/proc/driver/nvidia/version");
  if (version.ok()) driver = Sha256Hex(*version).substr(0, 8);
  const std::string libraries = at::detail::getCUDAHooks().showConfig();
  std::string id = absl::StrCat(model, "-", driver, "-", Sha256Hex(libraries).substr(0, 8));
  std::replace_if(
      id.begin(), id.end(), [](char c) { return c == ' ' || c == ':'; }, '_');
  return id;
}

absl::Status CheckDevice(Device device) {
  if (device == Device::kCpu || at::globalContext().hasCUDA()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "cuda asked for, but libtorch finds no CUDA device: build against a libtorch with CUDA, "
      "check "
      "nvidia-smi, or use device cpu");
}

}  // namespace amc
