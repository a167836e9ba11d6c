#include "env/backend/sparse_conv.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int32_t kNoInput = -1;

// result (rows x columns) += a (rows x depth) b (depth x columns).
void AddProduct(absl::Span<const float> a, absl::Span<const float> b, size_t rows, size_t depth,
                size_t columns, float* result) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t d = 0; d < depth; ++d) {
      const float factor = a[r * depth + d];
      const float* const from = &b[d * columns];
      float* const to = &result[r * columns];
      for (size_t c = 0; c < columns; ++c) to[c] += factor * from[c];
    }
  }
}

bool MapsOntoItself(const KernelMap& map, int64_t begin, int64_t end) {
  if (map.inputs != map.outputs || end - begin != map.outputs) return false;
  return std::all_of(map.entries.begin() + begin, map.entries.begin() + end,
                     [](const MapEntry& entry) { return entry.input == entry.output; });
}

absl::Status CheckSizes(const SparseConvWeights& weights, const KernelMap& map,
                        absl::Span<const float> features) {
  if (map.sizes.size() != weights.slices().size() ||
      static_cast<int64_t>(features.size()) != map.inputs * weights.channels()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a kernel map of ", map.sizes.size(), " offsets and ", map.inputs, " inputs, weights of ",
        weights.slices().size(), " offsets and ", weights.channels(), " channels, ",
        features.size(), " features do not fit together"));
  }
  return absl::OkStatus();
}

// One convolution's run.
class Accumulator {
 public:
  Accumulator(const SparseConvWeights& weights, const KernelMap& map,
              absl::Span<const float> features)
      : weights_(weights),
        features_(features),
        sums_(static_cast<size_t>(map.outputs * weights.outputs())) {}

  // Adds the features of inputs[i], where that is not kNoInput, times an offset's weights to
  // outputs[i]. The product is made `height` rows high, of which the last ones may be padding.
  void Add(int32_t offset, absl::Span<const int32_t> inputs, absl::Span<const int32_t> outputs,
           size_t height) {
    const WeightSlice& slice = weights_.slices()[offset];
    const size_t depth = slice.channels.size(), columns = slice.outputs.size();
    if (slice.values.empty()) return;
    gathered_.assign(height * depth, 0.0f);
    product_.assign(height * columns, 0.0f);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i] == kNoInput) continue;
      const float* const from = &features_[inputs[i] * static_cast<size_t>(weights_.channels())];
      for (size_t d = 0; d < depth; ++d) gathered_[i * depth + d] = from[slice.channels[d]];
    }
    AddProduct(gathered_, slice.values, height, depth, columns, product_.data());
    for (size_t i = 0; i < outputs.size(); ++i) {
      float* const to = &sums_[outputs[i] * static_cast<size_t>(weights_.outputs())];
      for (size_t c = 0; c < columns; ++c) to[slice.outputs[c]] += product_[i * columns + c];
    }
  }

  std::vector<float> Sums() && { return std::move(sums_); }

 private:
  const SparseConvWeights& weights_;
  const absl::Span<const float> features_;
  std::vector<float> gathered_, product_, sums_;
};

}  // namespace

absl::StatusOr<SparseConvWeights> SparseConvWeights::Create(int64_t offsets, int64_t channels,
                                                            int64_t outputs,
                                                            absl::Span<const float> values) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  const auto count = static_cast<int64_t>(values.size());
  const bool sizes_good = offsets >= 1 && channels >= 1 && outputs >= 1 && offsets <= kMax &&
                          channels <= kMax && outputs <= kMax;
  // Divided, as the product may not fit.
  if (!sizes_good || count % channels != 0 || count / channels % outputs != 0 ||
      count / channels / outputs != offsets) {
    return absl::InvalidArgumentError(absl::StrCat(count, " weights, want ", offsets, " x ",
                                                   channels, " x ", outputs, ", each of 1 to ",
                                                   kMax));
  }
  SparseConvWeights result(channels, outputs);
  for (int64_t offset = 0; offset < offsets; ++offset) {
    const absl::Span<const float> from =
        values.subspan(offset * channels * outputs, channels * outputs);
    std::vector<bool> row(static_cast<size_t>(channels)), column(static_cast<size_t>(outputs));
    for (size_t i = 0; i < from.size(); ++i) {
      if (from[i] == 0) continue;
      row[i / column.size()] = true;
      column[i % column.size()] = true;
    }
    WeightSlice& slice = result.slices_.emplace_back();
    for (int32_t c = 0; c < channels; ++c) {
      if (row[c]) slice.channels.push_back(c);
    }
    for (int32_t o = 0; o < outputs; ++o) {
      if (column[o]) slice.outputs.push_back(o);
    }
    for (const int32_t c : slice.channels) {
      for (const int32_t o : slice.outputs) slice.values.push_back(from[c * outputs + o]);
    }
  }
  return result;
}

int64_t SparseConvWeights::values() const {
  int64_t count = 0;
  for (const WeightSlice& slice : slices_) count += static_cast<int64_t>(slice.values.size());
  return count;
}

int64_t SparseConvWeights::bytes() const {
  int64_t words = values();
  for (const WeightSlice& slice : slices_) {
    words += 2 + static_cast<int64_t>(slice.channels.size() + slice.outputs.size());
  }
  return 4 * words;
}

std::vector<MatmulGroup> GroupOffsets(const KernelMap& map, const GroupingOptions& options) {
  const auto volume = static_cast<int32_t>(map.sizes.size());
  const std::vector<int64_t> starts = map.Starts();
  std::vector<MatmulGroup> groups;
  std::vector<int32_t> order;
  for (int32_t i = 0; i < volume; ++i) {
    const int32_t offset = i % 2 == 0 ? i / 2 : volume - 1 - i / 2;
    if (offset == volume / 2 && MapsOntoItself(map, starts[offset], starts[offset + 1])) {
      groups.push_back({.offsets = {offset}});
    } else if (map.sizes[offset] > 0) {
      order.push_back(offset);
    }
  }
  const size_t alone = groups.size();
  int32_t least = 0, most = 0;  // of the last group
  for (const int32_t offset : order) {
    const int32_t size = map.sizes[offset];
    least = std::min(least, size);
    most = std::max(most, size);
    if (groups.size() == alone || 1 - static_cast<double>(least) / most > options.epsilon) {
      groups.emplace_back();
      least = most = size;
    }
    groups.back().offsets.push_back(offset);
    groups.back().padded = most < options.mm_threshold ? most : 0;
  }
  return groups;
}

absl::StatusOr<std::vector<float>> GatherMatmulScatter(const SparseConvWeights& weights,
                                                       const KernelMap& map,
                                                       const std::vector<MatmulGroup>& groups,
                                                       absl::Span<const float> features) {
  AMC_RETURN_IF_ERROR(CheckSizes(weights, map, features));
  Accumulator accumulator(weights, map, features);
  const std::vector<int64_t> starts = map.Starts();
  std::vector<int32_t> inputs, outputs;
  for (const MatmulGroup& group : groups) {
    for (const int32_t offset : group.offsets) {
      inputs.clear();
      outputs.clear();
      for (int64_t i = starts[offset]; i < starts[offset + 1]; ++i) {
        inputs.push_back(map.entries[i].input);
        outputs.push_back(map.entries[i].output);
      }
      accumulator.Add(offset, inputs, outputs,
                      std::max(inputs.size(), static_cast<size_t>(group.padded)));
    }
  }
  return std::move(accumulator).Sums();
}

absl::StatusOr<std::vector<float>> ImplicitMatmul(const SparseConvWeights& weights,
                                                  const KernelMap& map, const OutputOrder& order,
                                                  absl::Span<const float> features) {
  AMC_RETURN_IF_ERROR(CheckSizes(weights, map, features));
  // TorchSparse++'s output-stationary map: the input of every output and offset, or none.
  const size_t volume = map.sizes.size();
  std::vector<int32_t> neighbours(static_cast<size_t>(map.outputs) * volume, kNoInput);
  const std::vector<int64_t> starts = map.Starts();
  for (size_t offset = 0; offset < volume; ++offset) {
    for (int64_t i = starts[offset]; i < starts[offset + 1]; ++i) {
      const MapEntry& entry = map.entries[i];
      neighbours[static_cast<size_t>(entry.output) * volume + offset] = entry.input;
    }
  }
  Accumulator accumulator(weights, map, features);
  std::vector<int32_t> inputs;
  for (const std::vector<OutputOrder::Tile>& tiles : order.splits) {
    for (const OutputOrder::Tile& tile : tiles) {
      for (const int32_t offset : tile.offsets) {
        inputs.clear();
        for (const int32_t output : tile.outputs) {
          inputs.push_back(neighbours[static_cast<size_t>(output) * volume + offset]);
        }
        accumulator.Add(offset, inputs, tile.outputs, static_cast<size_t>(order.tile));
      }
    }
  }
  return std::move(accumulator).Sums();
}

}  // namespace amc
