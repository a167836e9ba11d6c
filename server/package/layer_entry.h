// What the manifest says of one layer in one format, and the file that it names: made by those who
// write packages, and made anew by those who check them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "amc/v1/package.pb.h"
#include "env/backend/backend.h"
#include "env/exec/exec_options.h"
#include "env/graph/graph.h"
#include "env/graph/layer_weights.h"

namespace amc {

struct LayerEntry {
  v1::LayerBackend described;
  std::string file;  // its bytes; empty if the format does not take the layer
};

// Layer number `index` in the format: written, read back, compared and run. `input` is what the
// self-test's first image is to it. Errors name the file.
absl::StatusOr<LayerEntry> MakeLayerEntry(const Backend& backend, const LayerWeights& layer,
                                          size_t index, const LayerInput& input);

// What every layer reads of the self-test's first image, in the order of `layers`. `images` are
// `count` of them, one after another; errors as LayerInputs.
absl::StatusOr<std::vector<LayerInput>> FirstImageInputs(const Graph& graph,
                                                         const std::vector<LayerWeights>& layers,
                                                         absl::Span<const float> images,
                                                         int64_t count, const ExecOptions& exec);

// The backends of these names: InvalidArgument for one that there is not, or twice.
absl::StatusOr<std::vector<const Backend*>> FindFormats(absl::Span<const std::string> formats);

// Where `listed`, an entry but for its backends or one of these, first differs from what it should
// be, "pattern: \"2:4\" -> \"dense\""; empty where it does not. Simulated cycles and times may be
// 1% off: which activations are zeros is not quite the same on every machine.
std::string LayerDifference(const v1::PackageLayer& wanted, v1::PackageLayer listed);
std::string BackendDifference(const v1::LayerBackend& wanted, v1::LayerBackend listed);

}  // namespace amc
