#include "env/prune/sparsity.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/prune/sparse_patterns.h"

namespace amc {
namespace {

constexpr int64_t kMaxM = 64;

struct GranularityEntry {
  Granularity granularity;
  absl::string_view name;
};
constexpr GranularityEntry kGranularities[] = {{Granularity::kChannel, "channel"},
                                               {Granularity::kElement, "element"},
                                               {Granularity::kVector, "vector"},
                                               {Granularity::kKernel, "kernel"},
                                               {Granularity::kPattern, "pattern"},
                                               {Granularity::kBlock, "block"},
                                               {Granularity::kNM, "nm"}};

absl::Status CheckRange(const SparseDecision& decision) {
  const bool is_nm = decision.granularity == Granularity::kNM;
  if (is_nm ? decision.of < 2 || decision.of > kMaxM : decision.of != kShares) {
    return absl::InvalidArgumentError(absl::StrCat(
        "layer ", decision.target, ": ", GranularityName(decision.granularity), " sparsity of ",
        decision.of, ", want ", is_nm ? absl::StrCat("2 to ", kMaxM) : absl::StrCat(kShares)));
  }
  if (decision.kept < 1 || decision.kept > decision.of) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer ", decision.target, ": ", decision.kept, " kept of ", decision.of));
  }
  return absl::OkStatus();
}

// OK if `size` is a multiple of `step`.
absl::Status CheckMultiple(const LayerWeights& layer, int64_t size, absl::string_view what,
                           int64_t step) {
  if (size % step == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("layer ", layer.name, ": ", size, " ", what, " are no multiple of ", step));
}

absl::Status CheckKernel(const LayerWeights& layer, Granularity granularity) {
  const Pair& kernel = layer.conv.kernel;
  if (layer.form != LayerForm::kConv) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", layer.name, ": a linear layer has no kernels"));
  }
  if (granularity == Granularity::kPattern && kernel != Pair{3, 3}) {
    return absl::FailedPreconditionError(absl::StrCat("layer ", layer.name, ": kernels are ",
                                                      kernel[0], "x", kernel[1], ", want 3x3"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view GranularityName(Granularity granularity) {
  for (const GranularityEntry& entry : kGranularities) {
    if (entry.granularity == granularity) return entry.name;
  }
  return "unknown";
}

absl::StatusOr<Granularity> ParseGranularity(absl::string_view name) {
  for (const GranularityEntry& entry : kGranularities) {
    if (entry.name == name) return entry.granularity;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "granularity ", name, ": not one of channel, element, vector, kernel, pattern, block, nm"));
}

absl::Status CheckSparsityOptions(const SparsityOptions& options) {
  const auto need = [](bool fine, absl::string_view name, int64_t value) {
    return fine ? absl::OkStatus()
                : absl::InvalidArgumentError(
                      absl::StrCat("sparsity options: ", name, " is ", value));
  };
  AMC_RETURN_IF_ERROR(need(options.norm == 1 || options.norm == 2, "norm", options.norm));
  AMC_RETURN_IF_ERROR(need(options.vector_length >= 1, "vector_length", options.vector_length));
  AMC_RETURN_IF_ERROR(need(options.block[0] >= 1, "block rows", options.block[0]));
  AMC_RETURN_IF_ERROR(need(options.block[1] >= 1, "block columns", options.block[1]));
  return need(options.patterns >= 1 && options.patterns <= kNaturalPatterns, "patterns",
              options.patterns);
}

bool IsDense(const SparseDecision& decision) {
  return decision.kept == decision.of && decision.granularity != Granularity::kPattern;
}

absl::StatusOr<SparseUnits> CountUnits(const LayerWeights& layer, const SparseDecision& decision,
                                       const SparsityOptions& options) {
  AMC_RETURN_IF_ERROR(CheckSparsityOptions(options));
  AMC_RETURN_IF_ERROR(CheckRange(decision));
  const int64_t weights = layer.outputs * layer.features();
  SparseUnits units{.count = weights};
  switch (decision.granularity) {
    case Granularity::kElement:
      break;
    case Granularity::kVector: {
      const bool is_conv = layer.form == LayerForm::kConv;
      units.weights = is_conv ? layer.conv.kernel[1] : options.vector_length;
      AMC_RETURN_IF_ERROR(CheckMultiple(layer, layer.features(), "inputs", units.weights));
      units.count /= units.weights;
      break;
    }
    case Granularity::kKernel:
    case Granularity::kPattern:
      AMC_RETURN_IF_ERROR(CheckKernel(layer, decision.granularity));
      units.count = layer.outputs * layer.channels;
      units.weights = decision.granularity == Granularity::kPattern
                          ? kPatternEntries
                          : layer.conv.kernel[0] * layer.conv.kernel[1];
      break;
    case Granularity::kBlock:
      // Blocks of a grouped convolution's matrix are whole only within its blocks on the diagonal.
      AMC_RETURN_IF_ERROR(CheckMultiple(layer, layer.outputs / layer.conv.groups,
                                        layer.conv.groups > 1 ? "outputs per group" : "outputs",
                                        options.block[0]));
      AMC_RETURN_IF_ERROR(CheckMultiple(layer, layer.features(), "features", options.block[1]));
      units.weights = options.block[0] * options.block[1];
      units.count /= units.weights;
      break;
    case Granularity::kNM:
      AMC_RETURN_IF_ERROR(CheckMultiple(layer, layer.channels, "input channels", decision.of));
      units.kept = weights / decision.of * decision.kept;
      return units;
    default:
      return absl::InvalidArgumentError(absl::StrCat("layer ", layer.name, ": granularity ",
                                                     static_cast<int>(decision.granularity),
                                                     " is not one within weights"));
  }
  units.kept = (decision.kept * units.count + kShares - 1) / kShares;
  return units;
}

}  // namespace amc
