// write_backend_files DIR: random layers and their files, for consumers in other languages.
//
// For each layer DIR/LAYER.npy has its matrix with channels first and, where 2:4 can run it,
// DIR/LAYER.last.npy with channels last. Files are DIR/LAYER.BACKEND.safetensors; of 2:4 there is
// one for each type, LAYER.fp16.safetensors.
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/npy.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/backend/compressed.h"
#include "env/backend/nvidia24.h"
#include "tests/env/backend/simulated_layers.h"

namespace amc {
namespace {

absl::Status WriteMatrix(const std::string& path, const LayerWeights& layer, ColumnOrder order) {
  AMC_ASSIGN_OR_RETURN(const DenseMatrix matrix, ToMatrix(layer, order));
  return WriteFileAtomically(path, SerializeNpy({{matrix.rows, matrix.columns}, matrix.values}));
}

absl::Status WriteLayer(const std::string& path, const LayerWeights& layer) {
  AMC_RETURN_IF_ERROR(WriteMatrix(path + ".npy", layer, ColumnOrder::kChannelsFirst));
  const auto fp16 = MakeNvidia24Backend(Nvidia24Type::kFp16);
  const auto bf16 = MakeNvidia24Backend(Nvidia24Type::kBf16);
  const auto int8 = MakeNvidia24Backend(Nvidia24Type::kInt8);
  const std::vector<std::pair<std::string, const Backend*>> backends = {
      {"csr", &CsrBackend()}, {"csc", &CscBackend()}, {"bsr", &BsrBackend()},
      {"fp16", fp16.get()},   {"bf16", bf16.get()},   {"int8", int8.get()}};
  for (const auto& [name, backend] : backends) {
    if (!backend->CheckEligible(layer).ok()) continue;
    AMC_ASSIGN_OR_RETURN(const std::string file, backend->Write(layer));
    AMC_RETURN_IF_ERROR(WriteFileAtomically(path + "." + name + ".safetensors", file));
  }
  if (!fp16->CheckEligible(layer).ok()) return absl::OkStatus();
  return WriteMatrix(path + ".last.npy", layer, ColumnOrder::kChannelsLast);
}

absl::Status WriteAll(const std::string& folder) {
  Rng rng(1);
  LayerWeights thinned =
      testing::RandomConv({.outputs = 64, .channels = 128, .kernel = {3, 3}}, 0.9, rng);
  // Two of every four input channels, another pair for each kernel position and output.
  for (size_t i = 0; i < thinned.values.size(); ++i) {
    const size_t output = i / (128 * 9), channel = i / 9 % 128, position = i % 9;
    const size_t pair = (output + position + channel / 4) % 6;
    constexpr int kPairs[6] = {0b0011, 0b0101, 0b0110, 0b1001, 0b1010, 0b1100};
    if ((kPairs[pair] >> channel % 4 & 1) == 0) thinned.values[i] = 0;
  }
  LayerWeights empty_rows = testing::RandomLinear(12, 40, 0.1, rng);
  std::fill(empty_rows.values.begin(), empty_rows.values.begin() + 80, 0.0f);
  AMC_RETURN_IF_ERROR(WriteLayer(folder + "/thinned", thinned));
  AMC_RETURN_IF_ERROR(WriteLayer(folder + "/empty_rows", empty_rows));
  AMC_RETURN_IF_ERROR(WriteLayer(folder + "/zeros", testing::RandomLinear(4, 8, 0, rng)));
  return WriteLayer(folder + "/depthwise",
                    testing::RandomConv({.outputs = 8, .groups = 8, .kernel = {3, 3}}, 1, rng));
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_backend_files DIR\n");
    return 2;
  }
  const absl::Status status = amc::WriteAll(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
