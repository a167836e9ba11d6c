#include "env/backend/output_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace amc {
namespace {

constexpr int64_t kMaskBits = 64;

// Of every output, which of the offsets from `first` to before `last` map an input to it.
std::vector<uint64_t> Masks(const KernelMap& map, const std::vector<int64_t>& starts, int64_t first,
                            int64_t last) {
  std::vector<uint64_t> masks(static_cast<size_t>(map.outputs));
  for (int64_t offset = first; offset < last; ++offset) {
    for (int64_t i = starts[offset]; i < starts[offset + 1]; ++i) {
      masks[map.entries[i].output] |= uint64_t{1} << (offset - first);
    }
  }
  return masks;
}

}  // namespace

absl::StatusOr<OutputOrder> OrderOutputs(const KernelMap& map, const OrderOptions& options) {
  const auto offsets = static_cast<int64_t>(map.sizes.size());
  const int64_t splits = std::max<int64_t>(options.splits, 1);
  if (options.tile < 1 || options.splits < 0 || splits > offsets || offsets > splits * kMaskBits) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tiles of ", options.tile, " outputs, ", options.splits, " splits of ", offsets,
        " offsets: want at least 1 output, and 1 to ", kMaskBits, " offsets in each split"));
  }
  const std::vector<int64_t> starts = map.Starts();
  OutputOrder result;
  result.tile = options.tile;
  result.maps = starts.back();
  for (int64_t split = 0; split < splits; ++split) {
    const int64_t first = split * offsets / splits;
    const std::vector<uint64_t> masks = Masks(map, starts, first, (split + 1) * offsets / splits);
    std::vector<int32_t> order(masks.size());
    std::iota(order.begin(), order.end(), 0);
    if (options.splits > 0) {
      std::stable_sort(order.begin(), order.end(),
                       [&](int32_t a, int32_t b) { return masks[a] > masks[b]; });
    }
    std::vector<OutputOrder::Tile>& tiles = result.splits.emplace_back();
    for (size_t begin = 0; begin < order.size();) {
      const size_t end = begin + std::min(static_cast<size_t>(options.tile), order.size() - begin);
      OutputOrder::Tile& tile = tiles.emplace_back();
      tile.outputs.assign(order.begin() + static_cast<int64_t>(begin),
                          order.begin() + static_cast<int64_t>(end));
      uint64_t any = 0;
      for (const int32_t output : tile.outputs) any |= masks[output];
      for (int64_t bit = 0; bit < kMaskBits; ++bit) {
        if ((any >> bit & 1) != 0) tile.offsets.push_back(static_cast<int32_t>(first + bit));
      }
      result.computed += options.tile * static_cast<int64_t>(tile.offsets.size());
      begin = end;
    }
  }
  return result;
}

}  // namespace amc
