#include "server/package/layer_entry.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "env/backend/backends.h"
#include "env/backend/layer_check.h"
#include "env/exec/layer_inputs.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/package/contents.h"

namespace amc {
namespace {

constexpr double kSimulatedTolerance = 0.01;

// False for what is not finite, which no cost is.
bool IsNear(double wanted, double listed) {
  return std::fabs(wanted - listed) <= kSimulatedTolerance * wanted;
}

std::string FirstDifference(const google::protobuf::Message& wanted,
                            const google::protobuf::Message& listed) {
  google::protobuf::util::MessageDifferencer differencer;
  std::string differences;
  differencer.ReportDifferencesToString(&differences);
  if (differencer.Compare(wanted, listed)) return "";
  const absl::string_view first = absl::string_view(differences).substr(0, differences.find('\n'));
  return std::string(absl::StripPrefix(first, "modified: "));
}

}  // namespace

absl::StatusOr<LayerEntry> MakeLayerEntry(const Backend& backend, const LayerWeights& layer,
                                          size_t index, const LayerInput& input) {
  LayerEntry entry;
  v1::LayerBackend& described = entry.described;
  described.set_name(std::string(backend.name()));
  const std::string name = LayerFile(backend, index, layer.name);
  const absl::Status eligible = backend.CheckEligible(layer);
  if (absl::IsFailedPrecondition(eligible)) {
    described.set_reason(ToUtf8(std::string(eligible.message())));
    return entry;
  }
  AMC_RETURN_IF_ERROR(Annotate(eligible, name));
  absl::StatusOr<std::string> file = backend.Write(layer);
  AMC_RETURN_IF_ERROR(Annotate(file.status(), name));
  entry.file = *std::move(file);
  const absl::StatusOr<double> tolerance = CheckLayerFile(backend, layer, entry.file);
  AMC_RETURN_IF_ERROR(Annotate(tolerance.status(), name));
  const absl::StatusOr<BackendCost> cost = backend.Cost(layer, input);
  AMC_RETURN_IF_ERROR(Annotate(cost.status(), name));
  described.set_eligible(true);
  described.set_file(name);
  described.set_tolerance(*tolerance);
  described.set_nonzeros(static_cast<uint32_t>(cost->nonzeros));
  described.set_bytes(static_cast<uint32_t>(cost->bytes));
  described.set_simulated_cycles(static_cast<double>(cost->cycles));
  described.set_simulated_us(cost->microseconds);
  return entry;
}

absl::StatusOr<std::vector<LayerInput>> FirstImageInputs(const Graph& graph,
                                                         const std::vector<LayerWeights>& layers,
                                                         absl::Span<const float> images,
                                                         int64_t count, const ExecOptions& exec) {
  std::vector<NodeId> nodes;
  nodes.reserve(layers.size());
  for (const LayerWeights& layer : layers) nodes.push_back(layer.node);
  const size_t size = images.size() / static_cast<size_t>(count);
  AMC_ASSIGN_OR_RETURN(auto values, LayerInputs(graph, nodes, images.subspan(0, size), exec));
  std::vector<LayerInput> inputs;
  inputs.reserve(layers.size());
  for (const NodeId node : nodes) inputs.push_back({std::move(values[node])});
  return inputs;
}

absl::StatusOr<std::vector<const Backend*>> FindFormats(absl::Span<const std::string> formats) {
  std::vector<const Backend*> backends;
  for (const std::string& format : formats) {
    AMC_ASSIGN_OR_RETURN(const Backend* const backend, FindBackend(format));
    if (std::find(backends.begin(), backends.end(), backend) != backends.end()) {
      return absl::InvalidArgumentError(absl::StrCat("names format ", format, " twice"));
    }
    backends.push_back(backend);
  }
  return backends;
}

std::string LayerDifference(const v1::PackageLayer& wanted, v1::PackageLayer listed) {
  listed.clear_backends();
  return FirstDifference(wanted, listed);
}

std::string BackendDifference(const v1::LayerBackend& wanted, v1::LayerBackend listed) {
  if (IsNear(wanted.simulated_cycles(), listed.simulated_cycles())) {
    listed.set_simulated_cycles(wanted.simulated_cycles());
  }
  if (IsNear(wanted.simulated_us(), listed.simulated_us())) {
    listed.set_simulated_us(wanted.simulated_us());
  }
  return FirstDifference(wanted, listed);
}

}  // namespace amc
