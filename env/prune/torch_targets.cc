#include "env/prune/torch_targets.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/prune/torch_patches.h"

namespace amc {

OriginalTargets::OriginalTargets(TorchNetwork& original, std::vector<Refit> refits,
                                 std::vector<torch::Tensor> chunks, int64_t samples_per_image,
                                 uint64_t seed)
    : refits_(std::move(refits)),
      samples_per_image_(samples_per_image),
      seed_(seed),
      activations_(original),
      producers_(Producers(original.graph())),
      sampled_(refits_.size()) {
  activations_.SetInput(std::move(chunks));
}

absl::StatusOr<SampledTarget> OriginalTargets::Take(size_t refit) {
  const Graph& graph = activations_.graph();
  const NodeId last = producers_[Index(refits_[refit].target)];
  for (; next_ <= Index(last); ++next_) {
    const NodeId id = graph.node_id(next_);
    AMC_RETURN_IF_ERROR(activations_.Run(id));
    const std::vector<TensorId>& outputs = graph.node(id).outputs;
    for (size_t r = 0; r < refits_.size(); ++r) {
      if (std::count(outputs.begin(), outputs.end(), refits_[r].target) == 0) continue;
      try {
        AMC_ASSIGN_OR_RETURN(sampled_[r], Sample(refits_[r]));
      } catch (const std::exception& error) {
        return absl::InternalError(
            absl::StrCat(NodeLabel(graph, graph.node(id)), ": sampling: ", error.what()));
      }
    }
  }
  return std::move(sampled_[refit]);
}

absl::StatusOr<SampledTarget> OriginalTargets::Sample(const Refit& refit) const {
  const bool is_conv = refit.layer.is_conv;
  const std::vector<torch::Tensor>& chunks = activations_.of(refit.target);
  Rng rng(seed_, Index(refit.layer.node));
  SampledTarget target;
  if (is_conv) {
    target.height = chunks[0].size(2);
    target.width = chunks[0].size(3);
  }
  const torch::Tensor kept =
      torch::tensor(at::ArrayRef<int64_t>(refit.kept), at::kLong).to(chunks[0].device());
  std::vector<torch::Tensor> rows;
  for (const torch::Tensor& chunk : chunks) {
    AMC_RETURN_IF_ERROR(CheckInterrupt());
    target.positions.push_back(
        SamplePositions(chunk.size(0), PositionsPerImage(chunk, is_conv), samples_per_image_, rng));
    rows.push_back(GatherOutputs(chunk, is_conv, target.positions.back()).index_select(1, kept));
  }
  target.rows = torch::cat(rows);
  return target;
}

}  // namespace amc
