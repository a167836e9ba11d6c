#include "env/exec/exec_options.h"

#include <dlfcn.h>
#include <malloc.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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
  const std::string device =
      options.device == Device::kCuda ? "cuda" : absl::StrCat("cpu:", InstructionSet());
  return absl::StrCat(device, ":torch", TORCH_VERSION, BlasId(), ":threads", NumThreads(), ":batch",
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
