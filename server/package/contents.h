// What stands in a package's files, and how it follows from the network: shared by those who write
// and those who check.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/package.pb.h"
#include "env/backend/backend.h"
#include "env/graph/graph.h"
#include "env/graph/layer_weights.h"

namespace amc {

inline constexpr char kManifestFile[] = "manifest.json";
inline constexpr char kSumsFile[] = "SHA256SUMS";
inline constexpr char kModelFile[] = "model.onnx";
inline constexpr char kWeightsFile[] = "weights.safetensors";
inline constexpr char kInputFile[] = "io/input.npy";
inline constexpr char kExpectedFile[] = "io/expected.npy";
inline constexpr double kSelfTestTolerance = 1e-4;  // of the largest |output|

// "csr/003-layer1.0.conv1.safetensors": the name's characters that files cannot bear become _.
std::string LayerFile(const Backend& backend, size_t layer, const std::string& name);

// A layer's entry but for its backends.
v1::PackageLayer DescribeLayer(const Graph& graph, const LayerWeights& layer);

// The manifest's entry of the self-test.
v1::SelfTest DescribeSelfTest();

// weights.safetensors of all layers. InvalidArgument if a name is not UTF-8.
absl::StatusOr<std::string> WriteWeights(const Graph& graph,
                                         const std::vector<LayerWeights>& layers);
// Whether `file` holds them: DataLoss names the first tensor and value that differ, or what it has
// too many or too few.
absl::Status CheckWeights(absl::string_view file, const Graph& graph,
                          const std::vector<LayerWeights>& layers);

// manifest.json.
std::string WriteManifest(const v1::PackageManifest& manifest);
// InvalidArgument says what is no such JSON; FailedPrecondition for a later schema.
absl::StatusOr<v1::PackageManifest> ReadManifest(absl::string_view text);

}  // namespace amc
