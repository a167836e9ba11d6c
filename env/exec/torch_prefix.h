// What a PrefixCache holds, for the code that runs networks from it.
#pragma once

#include <map>
#include <vector>

#include "env/exec/prefix_cache.h"
#include "env/exec/torch_api.h"
#include "env/graph/graph.h"

namespace amc {

using Activations = std::map<TensorId, torch::Tensor>;

struct PrefixCache::Batches {
  std::vector<Activations> kept;  // by batch: of every tensor that the plan keeps
};

}  // namespace amc
