#include "env/exec/prefix_cache.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/exec/torch_network.h"
#include "env/exec/torch_prefix.h"

namespace amc {

PrefixCache::PrefixCache(const Graph& graph, absl::Span<const size_t> cuts, const DataPack& pack,
                         Split split, int64_t images, const ExecOptions& options, int64_t max_bytes)
    : graph_(graph),
      pack_(pack),
      split_(split),
      images_(images),
      options_(options),
      plan_(graph, cuts, images, max_bytes) {}

PrefixCache::~PrefixCache() = default;

absl::StatusOr<PrefixStart> PrefixCache::StartOf(const Graph& changed) {
  const size_t node = plan_.StartWithin(CommonPrefix(graph_, changed));
  if (node == 0) return PrefixStart();
  if (batches_ == nullptr) AMC_RETURN_IF_ERROR(Fill());
  return PrefixStart{node, this};
}

absl::Status PrefixCache::Fill() {
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<TorchNetwork> network,
                       TorchNetwork::Create(graph_, options_));
  const std::set<TensorId> wanted(plan_.kept().begin(), plan_.kept().end());
  Activations kept;
  // With a tap nothing is overwritten, so that what is kept stays what it is.
  network->set_tap([&](NodeId id, const std::vector<torch::Tensor>& outputs) {
    const Node& node = graph_.node(id);
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      if (wanted.count(node.outputs[o]) != 0) kept[node.outputs[o]] = outputs[o];
    }
  });
  auto batches = std::make_unique<Batches>();
  for (int64_t first = 0; first < images_; first += options_.batch_size) {
    const int64_t count = std::min(options_.batch_size, images_ - first);
    std::vector<float> images = pack_.Images(split_, first, count);
    try {
      const torch::Tensor input = at::from_blob(
          images.data(), {count, pack_.channels(), pack_.height(), pack_.width()}, at::kFloat);
      AMC_RETURN_IF_ERROR(network->Forward(input).status());
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrCat("cannot keep activations of ", images_, " ",
                                              SplitName(split_), " images: ", error.what()));
    }
    batches->kept.push_back(std::exchange(kept, {}));
  }
  batches_ = std::move(batches);
  return absl::OkStatus();
}

}  // namespace amc
