#include "env/checked_export.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/exec/network.h"
#include "env/graph/onnx_export.h"
#include "env/graph/onnx_import.h"
#include "env/test_images.h"

namespace amc {
namespace {

constexpr int64_t kImages = 16;
constexpr double kTolerance = 1e-4;  // of the largest output

absl::StatusOr<std::vector<float>> Outputs(const Graph& graph, const TestImages& images,
                                           ExecOptions options) {
  options.precision = Precision::kFloat32;
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network, Network::Create(graph, options));
  return network->Run(images.values, images.count());
}

absl::Status CompareCosts(const Graph& source, const Graph& read_back) {
  AMC_ASSIGN_OR_RETURN(const Cost expected, CountCost(source));
  AMC_ASSIGN_OR_RETURN(const Cost found, CountCost(read_back));
  if (found == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the exported network has ", found.macs, " MACs and ",
                                          found.params, " parameters, its source ", expected.macs,
                                          " and ", expected.params));
}

absl::Status CompareOutputs(const std::vector<float>& expected, const std::vector<float>& found) {
  if (found.size() != expected.size()) {
    return absl::DataLossError(absl::StrCat("the exported network has ", found.size(),
                                            " outputs, its source ", expected.size()));
  }
  double largest = 0, difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double a = expected[i], b = found[i];
    if (!std::isfinite(a) || !std::isfinite(b)) {  // max would drop a NaN
      return absl::DataLossError(
          absl::StrFormat("output %d of the exported network is %g, of its source %g", i, b, a));
    }
    largest = std::max(largest, std::fabs(a));
    difference = std::max(difference, std::fabs(a - b));
  }
  if (difference <= kTolerance * largest) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("the exported network's outputs differ from its source's by %g, more than %g "
                      "of the largest, %g",
                      difference, kTolerance, largest));
}

}  // namespace

absl::StatusOr<std::string> CheckedExport(const Graph& graph, const DataPack* pack,
                                          const ExecOptions& options) {
  AMC_ASSIGN_OR_RETURN(std::string bytes, ExportOnnx(graph));
  AMC_ASSIGN_OR_RETURN(const Graph read_back, ImportOnnx(bytes));
  AMC_RETURN_IF_ERROR(CompareCosts(graph, read_back));
  AMC_ASSIGN_OR_RETURN(const TestImages images, MakeTestImages(graph, pack, kImages));
  AMC_ASSIGN_OR_RETURN(const std::vector<float> expected, Outputs(graph, images, options));
  AMC_ASSIGN_OR_RETURN(const std::vector<float> found, Outputs(read_back, images, options));
  AMC_RETURN_IF_ERROR(CompareOutputs(expected, found));
  return bytes;
}

}  // namespace amc
