// How a network runs: device, precision, batch, threads. Part of a job's numerics id.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

enum class Device { kCpu, kCuda };
enum class Precision { kFloat32, kBfloat16 };

struct ExecOptions {
  Device device = Device::kCpu;
  Precision precision = Precision::kFloat32;
  int64_t batch_size = 64;      // 32 to 64 is fastest on CPUs
  bool fold_batch_norm = true;  // into the convolution or linear layer before it, when evaluating
};

absl::StatusOr<Device> ParseDevice(absl::string_view name);        // "cpu", "cuda"
absl::StatusOr<Precision> ParsePrecision(absl::string_view name);  // "fp32", "bf16"

// Sets this process's intra-op thread count (0: leave as it is) and tunes malloc for inference
// (M_MMAP_MAX 0, M_TRIM_THRESHOLD -1, one arena: 1.2 to 2.4 times faster). Call first in main.
void TuneProcess(int threads);
int NumThreads();

// Everything that may change a result bit: CPU instruction set, versions of libtorch and OpenBLAS
// with the kernels that it chose, threads, batch, device, precision.
// "cpu:avx512_bf16:torch1.13.1:openblas0.3.21-SkylakeX:threads1:batch64:fp32"; for a CUDA device
// with GpuId in the second place.
std::string NumericsId(const ExecOptions& options);

// The CUDA device's part of it: its model and hashes of the driver's version and of the CUDA
// libraries' ("NVIDIA_H100_80GB_HBM3-5e1c03fa-1f0c2a9b"); empty where there is none.
std::string GpuId();

// FailedPrecondition with what to do when the device is not there ("cuda asked for, but ...").
absl::Status CheckDevice(Device device);

}  // namespace amc
