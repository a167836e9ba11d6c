#include "env/exec/network.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/exec/torch_network.h"
#include "env/exec/torch_prefix.h"

namespace amc {
namespace {

class HostNetwork : public Network {
 public:
  HostNetwork(std::unique_ptr<TorchNetwork> network, Shape image, int64_t step, bool fixed)
      : network_(std::move(network)), image_(std::move(image)), step_(step), fixed_(fixed) {}

  absl::StatusOr<std::vector<float>> Run(absl::Span<const float> images, int64_t batch) override {
    AMC_ASSIGN_OR_RETURN(const int64_t image_size, NumElements(image_));
    if (batch < 1 || static_cast<int64_t>(images.size()) / batch != image_size ||
        static_cast<int64_t>(images.size()) % batch != 0) {
      return absl::InvalidArgumentError(absl::StrCat(images.size(), " values for ", batch,
                                                     " images of ", ShapeToString(image_), " (",
                                                     image_size, " values each)"));
    }
    std::vector<float> results;
    try {
      for (int64_t first = 0; first < batch; first += step_) {
        const int64_t count = std::min(step_, batch - first);
        const auto offset = static_cast<size_t>(first * image_size);
        const auto length = static_cast<size_t>(count * image_size);
        AMC_RETURN_IF_ERROR(RunStep(images.subspan(offset, length), count, results));
      }
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrCat("cannot run the network: ", error.what()));
    }
    return results;
  }

  absl::StatusOr<std::vector<float>> RunFrom(const PrefixStart& start, size_t batch) override {
    const std::vector<Activations>& batches = start.cache->batches().kept;
    if (batch >= batches.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("batch ", batch, " of ", batches.size(), " whose activations are kept"));
    }
    Activations alive;
    for (const TensorId id : start.cache->plan().alive(start.node)) {
      alive[id] = batches[batch].at(id);
    }
    std::vector<float> results;
    try {
      AMC_ASSIGN_OR_RETURN(const torch::Tensor output, network_->ForwardFrom(start.node, alive));
      Append(output, results);
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrCat("cannot run the network: ", error.what()));
    }
    return results;
  }

 private:
  static void Append(const torch::Tensor& output, std::vector<float>& results) {
    const torch::Tensor host = output.to(at::kCPU).contiguous();
    const float* const values = host.data_ptr<float>();
    results.insert(results.end(), values, values + host.numel());
  }

  // Appends the results of at most step_ images. A network with a fixed batch gets zero images for
  // the missing ones.
  absl::Status RunStep(absl::Span<const float> images, int64_t count, std::vector<float>& results) {
    Shape sizes = image_;
    sizes.insert(sizes.begin(), count);
    torch::Tensor input = at::from_blob(const_cast<float*>(images.data()), sizes, at::kFloat);
    if (fixed_ && count < step_) {
      sizes[0] = step_ - count;
      input = at::cat({input, at::zeros(sizes, at::kFloat)});
    }
    AMC_ASSIGN_OR_RETURN(const torch::Tensor output, network_->Forward(input));
    Append(output.narrow(0, 0, count), results);
    return absl::OkStatus();
  }

  std::unique_ptr<TorchNetwork> network_;
  Shape image_;         // without the batch axis
  int64_t step_ = 0;    // images per run
  bool fixed_ = false;  // whether every run has to have exactly that many
};

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> Network::Create(const Graph& graph,
                                                         const ExecOptions& options) {
  if (options.batch_size < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch size is ", options.batch_size, ", want at least 1"));
  }
  AMC_ASSIGN_OR_RETURN(std::unique_ptr<TorchNetwork> network, TorchNetwork::Create(graph, options));
  const Tensor& input = graph.tensor(graph.inputs[0]);
  if (!input.shape_known || input.shape.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("input ", input.name, " has no known shape with a batch axis"));
  }
  const bool fixed = input.shape[0] != kDynamic;
  return std::make_unique<HostNetwork>(std::move(network),
                                       Shape(input.shape.begin() + 1, input.shape.end()),
                                       fixed ? input.shape[0] : options.batch_size, fixed);
}

}  // namespace amc
