// Images to compare networks on.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"
#include "env/graph/graph.h"

namespace amc {

struct TestImages {
  Shape shape = {};  // N x C x H x W
  std::vector<float> values = {};
  int64_t count() const { return shape.empty() ? 0 : shape[0]; }
};

// The first `count` images of the reward split, or fewer if it has fewer; noise where `pack` is
// null or has none. InvalidArgument unless the network has one input of known size.
absl::StatusOr<TestImages> MakeTestImages(const Graph& graph, const DataPack* pack, int64_t count);

}  // namespace amc
