#include "env/test_images.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {

absl::StatusOr<TestImages> MakeTestImages(const Graph& graph, const DataPack* pack, int64_t count) {
  if (graph.inputs.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the network has ", graph.inputs.size(), " inputs, want 1"));
  }
  TestImages images{.shape = graph.tensor(graph.inputs[0]).shape};
  if (images.shape.empty()) {
    return absl::InvalidArgumentError("the network's input has no known shape");
  }
  const bool real = pack != nullptr && pack->size(Split::kReward) > 0;
  images.shape[0] = real ? std::min(count, pack->size(Split::kReward)) : count;
  if (real) {
    images.values = pack->Images(Split::kReward, 0, images.count());
    return images;
  }
  AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(images.shape));
  images.values.resize(static_cast<size_t>(elements));
  Rng rng(0);
  for (float& value : images.values) value = static_cast<float>(rng.Normal());
  return images;
}

}  // namespace amc
