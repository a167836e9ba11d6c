#include "env/prune/torch_activations.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "env/exec/torch_prefix.h"

namespace amc {
namespace {

constexpr int kForever = -1;

// How many inputs read each activation; kForever for outputs of the network.
std::vector<int> CountReaders(const Graph& graph) {
  std::vector<int> readers(graph.tensors.size(), 0);
  for (const Node& node : graph.nodes) {
    for (const TensorId id : node.inputs) {
      if (id != TensorId::kNone && !graph.tensor(id).is_constant) ++readers[Index(id)];
    }
  }
  for (const TensorId id : graph.outputs) readers[Index(id)] = kForever;
  return readers;
}

}  // namespace

ExecOptions WalkOptions(ExecOptions options) {
  options.fold_batch_norm = false;
  options.precision = Precision::kFloat32;
  return options;
}

TorchActivations::TorchActivations(TorchNetwork& network)
    : network_(network), readers_(CountReaders(network.graph())) {
  values_.resize(readers_.size());
  waiting_ = readers_;
}

void TorchActivations::SetInput(std::vector<torch::Tensor> chunks) {
  for (std::vector<torch::Tensor>& value : values_) value.clear();
  is_given_.assign(readers_.size(), false);
  waiting_ = readers_;
  chunks_ = chunks.size();
  values_[Index(graph().inputs[0])] = std::move(chunks);
}

void TorchActivations::SetStart(const PrefixStart& start) {
  SetInput({});
  const std::vector<Activations>& batches = start.cache->batches().kept;
  chunks_ = batches.size();
  for (const TensorId id : start.cache->plan().alive(start.node)) {
    is_given_[Index(id)] = true;
    for (const Activations& batch : batches) values_[Index(id)].push_back(batch.at(id));
  }
  for (size_t n = 0; n < start.node; ++n) {
    for (const TensorId input : graph().nodes[n].inputs) {
      if (input != TensorId::kNone && waiting_[Index(input)] != kForever) --waiting_[Index(input)];
    }
  }
}

absl::Status TorchActivations::Run(size_t first, size_t last) {
  std::vector<int> waiting;
  for (size_t c = 0; c < chunks_; ++c) {
    waiting = waiting_;
    for (size_t n = first; n < last; ++n) AMC_RETURN_IF_ERROR(RunOn(c, n, waiting));
  }
  for (size_t n = first; n < last; ++n) {
    for (const TensorId input : graph().nodes[n].inputs) {
      if (IsFreed(input, waiting)) values_[Index(input)].clear();
    }
  }
  if (chunks_ > 0) waiting_ = std::move(waiting);
  return absl::OkStatus();
}

absl::Status TorchActivations::RunOn(size_t c, size_t n, std::vector<int>& waiting) {
  const Node& node = graph().nodes[n];
  std::vector<torch::Tensor> inputs(node.inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorId input = node.inputs[i];
    if (input == TensorId::kNone || graph().tensor(input).is_constant) continue;
    if (c < values_[Index(input)].size()) inputs[i] = values_[Index(input)][c];
  }
  const bool may_overwrite = !node.inputs.empty() && node.inputs[0] != TensorId::kNone &&
                             !is_given_[Index(node.inputs[0])];
  AMC_ASSIGN_OR_RETURN(const std::vector<torch::Tensor> outputs,
                       network_.RunNode(graph().node_id(n), inputs, may_overwrite));
  for (const TensorId input : node.inputs) {
    if (input == TensorId::kNone || input == graph().inputs[0]) continue;
    int& left = waiting[Index(input)];
    if (left != kForever && --left == 0 && c < values_[Index(input)].size()) {
      values_[Index(input)][c] = torch::Tensor();
    }
  }
  for (size_t o = 0; o < outputs.size(); ++o) {
    const TensorId output = node.outputs[o];
    if (output == TensorId::kNone || waiting[Index(output)] == 0) continue;
    values_[Index(output)].resize(chunks_);
    values_[Index(output)][c] = outputs[o];
  }
  return absl::OkStatus();
}

bool TorchActivations::IsFreed(TensorId id, const std::vector<int>& waiting) const {
  return id != TensorId::kNone && id != graph().inputs[0] && waiting[Index(id)] == 0;
}

void TorchActivations::Transform(TensorId id, const torch::Tensor& scale,
                                 const torch::Tensor& shift) {
  for (torch::Tensor& chunk : values_[Index(id)]) {
    std::vector<int64_t> sizes(static_cast<size_t>(chunk.dim()), 1);
    sizes[1] = chunk.size(1);
    chunk.mul_(scale.reshape(sizes).to(chunk.options()))
        .add_(shift.reshape(sizes).to(chunk.options()));
  }
}

absl::StatusOr<std::vector<torch::Tensor>> LoadChunks(const DataPack& pack, Split split,
                                                      int64_t first, int64_t count,
                                                      const ExecOptions& options) {
  const at::Device device(options.device == Device::kCuda ? at::kCUDA : at::kCPU);
  std::vector<torch::Tensor> chunks;
  try {
    for (int64_t i = 0; i < count; i += options.batch_size) {
      AMC_RETURN_IF_ERROR(CheckInterrupt());
      const int64_t size = std::min(options.batch_size, count - i);
      std::vector<float> images = pack.Images(split, first + i, size);
      chunks.push_back(
          torch::from_blob(images.data(), {size, pack.channels(), pack.height(), pack.width()})
              .to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true,
                  at::MemoryFormat::ChannelsLast));
    }
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("cannot load ", count, " images of the ",
                                            std::string(SplitName(split)),
                                            " split: ", error.what()));
  }
  return chunks;
}

int64_t PeakActivationBytes(const Graph& graph) {
  std::vector<int> waiting = CountReaders(graph);
  const auto bytes = [&](TensorId id) -> int64_t {
    const absl::StatusOr<int64_t> elements = NumElements(graph.tensor(id).shape);
    return elements.ok() ? *elements * static_cast<int64_t>(sizeof(float)) : 0;
  };
  int64_t alive = graph.inputs.empty() ? 0 : bytes(graph.inputs[0]);
  int64_t peak = std::max<int64_t>(1, alive);
  for (const Node& node : graph.nodes) {
    for (const TensorId id : node.outputs) {
      if (id != TensorId::kNone) alive += bytes(id);
    }
    peak = std::max(peak, alive);
    for (const TensorId id : node.inputs) {
      if (id == TensorId::kNone || graph.tensor(id).is_constant || id == graph.inputs[0]) continue;
      if (waiting[Index(id)] != kForever && --waiting[Index(id)] == 0) alive -= bytes(id);
    }
  }
  return peak;
}

}  // namespace amc
