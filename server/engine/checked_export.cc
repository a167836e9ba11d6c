#include "server/engine/checked_export.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/exec/network.h"
#include "env/graph/onnx_export.h"
#include "env/graph/onnx_import.h"

namespace amc {
namespace {

constexpr int64_t kImages = 8;
constexpr double kTolerance = 1e-4;  // of the largest output

absl::StatusOr<std::vector<float>> Outputs(const Graph& graph, const std::vector<float>& images,
                                           ExecOptions options) {
  options.precision = Precision::kFloat32;
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network, Network::Create(graph, options));
  return network->Run(images, kImages);
}

absl::StatusOr<std::vector<float>> TestImages(const Graph& graph, const DataPack* pack) {
  if (pack != nullptr && pack->size(Split::kReport) >= kImages) {
    return pack->Images(Split::kReport, 0, kImages);
  }
  if (graph.inputs.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the network has ", graph.inputs.size(), " inputs, want 1"));
  }
  Shape shape = graph.tensor(graph.inputs[0]).shape;
  if (!shape.empty()) shape[0] = kImages;
  AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(shape));
  Rng rng(0);
  std::vector<float> noise(static_cast<size_t>(elements));
  for (float& value : noise) value = static_cast<float>(rng.Normal());
  return noise;
}

}  // namespace

absl::StatusOr<std::string> CheckedExport(const Graph& graph, const DataPack* pack,
                                          const ExecOptions& options) {
  AMC_ASSIGN_OR_RETURN(std::string bytes, ExportOnnx(graph));
  AMC_ASSIGN_OR_RETURN(const Graph read_back, ImportOnnx(bytes));
  AMC_ASSIGN_OR_RETURN(const std::vector<float> images, TestImages(graph, pack));
  AMC_ASSIGN_OR_RETURN(const std::vector<float> expected, Outputs(graph, images, options));
  AMC_ASSIGN_OR_RETURN(const std::vector<float> found, Outputs(read_back, images, options));
  double largest = 0, difference = expected.size() == found.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(expected.size(), found.size()); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
    difference = std::max(difference, std::fabs(static_cast<double>(expected[i]) - found[i]));
  }
  // Written so that a NaN fails.
  if (!(difference <= kTolerance * largest)) {
    return absl::DataLossError(absl::StrCat("the exported network differs from its source by ",
                                            difference, ", outputs reach ", largest));
  }
  return bytes;
}

}  // namespace amc
