#include "server/package/contents.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "env/backend/layer_check.h"
#include "env/backend/safetensors.h"
#include "google/protobuf/util/json_util.h"
#include "server/cli/json.h"
#include "server/package/package.h"

namespace amc {
namespace {

constexpr size_t kMaxName = 100;  // characters of a layer's name in a file's

// What weights.safetensors says of a layer's weight.
struct StoredWeight {
  Shape shape;
  absl::string_view bytes;
  std::vector<uint8_t> mask;
};

StoredWeight Stored(const Graph& graph, const LayerWeights& layer) {
  const Tensor& tensor = graph.tensor(layer.weight);
  StoredWeight stored{.shape = tensor.shape, .bytes = *tensor.data, .mask = {}};
  const size_t count = tensor.data->size() / sizeof(float);
  stored.mask.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    float value = 0;
    std::memcpy(&value, tensor.data->data() + i * sizeof(float), sizeof(float));
    stored.mask.push_back(value != 0 ? 1 : 0);
  }
  return stored;
}

// Where the two differ first, which they do; in values of `width` bytes.
absl::Status Differs(const std::string& name, absl::string_view found, absl::string_view wanted,
                     size_t width) {
  const auto place = std::mismatch(found.begin(), found.end(), wanted.begin(), wanted.end());
  return absl::DataLossError(
      absl::StrCat(kWeightsFile, ": tensor ", name, " differs from model.onnx at value ",
                   static_cast<size_t>(place.first - found.begin()) / width));
}

}  // namespace

std::string LayerFile(const Backend& backend, size_t layer, const std::string& name) {
  std::string safe = name.substr(0, kMaxName);
  for (char& c : safe) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '-' && c != '_') c = '_';
  }
  return absl::StrFormat("%s/%03d-%s.%s", backend.name(), layer, safe, backend.extension());
}

v1::PackageLayer DescribeLayer(const Graph& graph, const LayerWeights& layer) {
  v1::PackageLayer described;
  described.set_weight(ToUtf8(layer.name));
  described.set_node(ToUtf8(NodeLabel(graph, graph.node(layer.node))));
  described.set_form(std::string(LayerFormName(layer.form)));
  for (const int64_t length : graph.tensor(layer.weight).shape) {
    described.add_shape(static_cast<int32_t>(length));
  }
  described.set_outputs(static_cast<int32_t>(layer.outputs));
  described.set_channels(static_cast<int32_t>(layer.channels));
  for (const int64_t edge : layer.conv.kernel) described.add_kernel(static_cast<int32_t>(edge));
  described.set_groups(static_cast<int32_t>(layer.conv.groups));
  described.set_positions(static_cast<int32_t>(layer.positions()));
  described.set_axis(layer.transposed ? 0 : 1);
  described.set_type("float32");
  const int64_t nonzeros = layer.NonZeros();
  described.set_nonzeros(static_cast<uint32_t>(nonzeros));
  described.set_density(static_cast<double>(nonzeros) /
                        static_cast<double>(std::max<size_t>(layer.values.size(), 1)));
  described.set_pattern(ZeroPattern(layer));
  return described;
}

v1::SelfTest DescribeSelfTest() {
  v1::SelfTest test;
  test.set_input(kInputFile);
  test.set_expected(kExpectedFile);
  test.set_tolerance(kSelfTestTolerance);
  return test;
}

absl::StatusOr<std::string> WriteWeights(const Graph& graph,
                                         const std::vector<LayerWeights>& layers) {
  std::vector<StoredWeight> stored;
  stored.reserve(layers.size());  // the file's tensors are views of these
  Safetensors content;
  for (const LayerWeights& layer : layers) {
    const StoredWeight& weight = stored.emplace_back(Stored(graph, layer));
    content.tensors[layer.name] = {SafetensorsType::kF32, weight.shape, weight.bytes};
    content.tensors[absl::StrCat(layer.name, ".mask")] =
        ViewElements(SafetensorsType::kU8, weight.shape, weight.mask);
  }
  return SerializeSafetensors(content);
}

absl::Status CheckWeights(absl::string_view file, const Graph& graph,
                          const std::vector<LayerWeights>& layers) {
  const absl::StatusOr<Safetensors> content = ParseSafetensors(file);
  AMC_RETURN_IF_ERROR(Annotate(content.status(), kWeightsFile));
  for (const LayerWeights& layer : layers) {
    const StoredWeight weight = Stored(graph, layer);
    const std::string mask_name = absl::StrCat(layer.name, ".mask");
    const auto values = FindTensor(*content, layer.name, SafetensorsType::kF32, weight.shape);
    AMC_RETURN_IF_ERROR(Annotate(values.status(), kWeightsFile));
    const auto mask = FindTensor(*content, mask_name, SafetensorsType::kU8, weight.shape);
    AMC_RETURN_IF_ERROR(Annotate(mask.status(), kWeightsFile));
    const absl::string_view wanted =
        ViewElements(SafetensorsType::kU8, weight.shape, weight.mask).bytes;
    if (values->bytes != weight.bytes) {
      return Differs(layer.name, values->bytes, weight.bytes, sizeof(float));
    }
    if (mask->bytes != wanted) return Differs(mask_name, mask->bytes, wanted, 1);
  }
  if (content->tensors.size() != 2 * layers.size()) {
    return absl::DataLossError(absl::StrCat(kWeightsFile, ": has ", content->tensors.size(),
                                            " tensors, want ", 2 * layers.size()));
  }
  return absl::OkStatus();
}

std::string WriteManifest(const v1::PackageManifest& manifest) { return ToJson(manifest); }

absl::StatusOr<v1::PackageManifest> ReadManifest(absl::string_view text) {
  v1::PackageManifest manifest;
  const auto status = google::protobuf::util::JsonStringToMessage(std::string(text), &manifest);
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        kManifestFile,
        ": not the JSON of a PackageManifest: ", ToUtf8(std::string(status.message()))));
  }
  if (manifest.schema_version() != kPackageSchema) {
    return absl::FailedPreconditionError(absl::StrCat(kManifestFile, ": schema version ",
                                                      manifest.schema_version(),
                                                      ", this is made for ", kPackageSchema));
  }
  return manifest;
}

}  // namespace amc
