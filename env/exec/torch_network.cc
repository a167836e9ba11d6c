#include "env/exec/torch_network.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/exec/batch_norm_folding.h"
#include "env/exec/torch_ops.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

using Tensors = std::vector<torch::Tensor>;

// Operators that always return fresh memory (a folded batch norm passes its layer's on).
bool MakesFreshOutput(Op op) {
  return op == Op::kConv || op == Op::kBatchNormalization || op == Op::kAdd || op == Op::kSub ||
         op == Op::kMul || op == Op::kGemm || op == Op::kMatMul;
}

// Whether `id` is the bias that exporters write as an Add after a MatMul.
bool IsMatMulBias(const Graph& graph, const std::vector<NodeId>& producers, const Node& add,
                  TensorId id) {
  if (add.op != Op::kAdd || add.inputs.size() != 2) return false;
  const TensorId other = add.inputs[0] == id ? add.inputs[1] : add.inputs[0];
  if (other == TensorId::kNone || graph.tensor(id).shape.size() != 1) return false;
  const NodeId producer = producers[Index(other)];
  return producer != NodeId::kNone && graph.node(producer).op == Op::kMatMul;
}

// The constants that training changes, in the order of their first reader.
std::vector<TensorId> FindParameters(const Graph& graph) {
  const std::vector<NodeId> producers = Producers(graph);
  std::vector<TensorId> parameters;
  for (const Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const TensorId id = node.inputs[i];
      if (id == TensorId::kNone || !graph.tensor(id).is_constant) continue;
      const bool is_layer = node.op == Op::kConv || node.op == Op::kGemm || node.op == Op::kMatMul;
      const bool trains = (is_layer && (i >= 1 || node.op == Op::kMatMul)) ||
                          (node.op == Op::kBatchNormalization && (i == 1 || i == 2)) ||
                          IsMatMulBias(graph, producers, node, id);
      if (trains && std::count(parameters.begin(), parameters.end(), id) == 0) {
        parameters.push_back(id);
      }
    }
  }
  return parameters;
}

// The message of an exception that libtorch threw while `node` ran.
absl::Status NodeError(const Graph& graph, const Node& node, const std::exception& error) {
  const auto* const torch_error = dynamic_cast<const c10::Error*>(&error);
  const std::string message =
      torch_error == nullptr ? error.what() : torch_error->what_without_backtrace();
  const std::string text = absl::StrCat(NodeLabel(graph, node), ": ", message);
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return absl::ResourceExhaustedError(text);
  }
  return absl::InternalError(text);
}

class Interpreter : public TorchNetwork {
 public:
  Interpreter(const Graph& graph, const ExecOptions& options)
      : graph_(graph),
        options_(options),
        device_(options.device == Device::kCuda ? at::kCUDA : at::kCPU),
        type_(options.precision == Precision::kBfloat16 ? at::kBFloat16 : at::kFloat),
        constants_(graph.tensors.size()),
        added_bias_(graph.nodes.size()),
        dying_(graph.nodes.size()),
        may_overwrite_(graph.nodes.size()),
        parameters_(FindParameters(graph)) {}

  absl::Status Prepare();

  absl::StatusOr<torch::Tensor> Forward(const torch::Tensor& input) override;
  absl::StatusOr<torch::Tensor> ForwardFrom(
      size_t first, const std::map<TensorId, torch::Tensor>& given) override;
  absl::StatusOr<Tensors> RunNode(NodeId node, const Tensors& inputs, bool may_overwrite) override;
  void set_tap(Tap tap) override { tap_ = std::move(tap); }
  void Train(bool on, double batch_norm_momentum) override;
  torch::Tensor& constant(TensorId id) override { return constants_[Index(id)]; }
  std::vector<TensorId> parameters() const override { return parameters_; }
  const Graph& graph() const override { return graph_; }
  absl::StatusOr<Graph> ToGraph() const override;

 private:
  absl::Status LoadConstants();
  absl::Status FoldConstants();
  void PlanLifetimes();
  torch::Tensor ToDevice(absl::Span<const float> values, const Shape& shape,
                         bool keep_float32) const;
  absl::Status CheckInput(const torch::Tensor& input) const;
  // Whether node `n` may write over its first input, which `given` activations must not share.
  bool MayOverwrite(size_t n, const Tensors& inputs,
                    const std::map<TensorId, torch::Tensor>& given) const;
  // RunNode with the caller's gradient mode.
  absl::StatusOr<Tensors> Run(NodeId id, Tensors inputs, bool may_overwrite);

  const Graph graph_;
  const ExecOptions options_;
  const at::Device device_;
  const at::ScalarType type_;
  std::vector<TorchOp> ops_;  // by NodeId
  Tensors constants_;         // by TensorId
  Tensors added_bias_;        // by NodeId: a folded batch norm's, where there was none
  std::vector<std::vector<TensorId>> dying_;  // by NodeId: activations that it reads last
  std::vector<bool> may_overwrite_;           // by NodeId: OpMode::may_overwrite
  const std::vector<TensorId> parameters_;
  bool folded_ = false;
  bool training_ = false;
  double batch_norm_momentum_ = 0.1;
  Tap tap_;
};

torch::Tensor Interpreter::ToDevice(absl::Span<const float> values, const Shape& shape,
                                    bool keep_float32) const {
  torch::Tensor tensor = at::empty(shape, at::kFloat);
  std::memcpy(tensor.data_ptr<float>(), values.data(), values.size() * sizeof(float));
  tensor = tensor.to(device_, keep_float32 ? at::kFloat : type_);
  return tensor.dim() == 4 ? tensor.contiguous(at::MemoryFormat::ChannelsLast) : tensor;
}

absl::Status Interpreter::LoadConstants() {
  for (const Node& node : graph_.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const TensorId id = node.inputs[i];
      if (id == TensorId::kNone || !IsDataInput(node, i)) continue;
      const Tensor& tensor = graph_.tensor(id);
      if (!tensor.is_constant || constants_[Index(id)].defined()) continue;
      const std::string label = absl::StrCat(NodeLabel(graph_, node), ": constant ", tensor.name);
      if (tensor.data == nullptr) {
        return absl::FailedPreconditionError(absl::StrCat(label, " has no weights"));
      }
      if (tensor.type != DataType::kFloat) {
        return absl::UnimplementedError(
            absl::StrCat(label, " is ", DataTypeName(tensor.type), ", only float32 can be run"));
      }
      AMC_ASSIGN_OR_RETURN(const std::vector<float> values, Values<float>(graph_, id));
      AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(tensor.shape));
      if (static_cast<int64_t>(values.size()) != elements) {
        return absl::InvalidArgumentError(absl::StrCat(
            label, " has ", values.size(), " values for shape ", ShapeToString(tensor.shape)));
      }
      const bool is_statistic = node.op == Op::kBatchNormalization;
      constants_[Index(id)] = ToDevice(values, tensor.shape, is_statistic);
    }
  }
  return absl::OkStatus();
}

absl::Status Interpreter::FoldConstants() {
  AMC_ASSIGN_OR_RETURN(const std::vector<FoldedLayer> layers, FoldBatchNorms(graph_));
  folded_ = !layers.empty();
  for (const FoldedLayer& layer : layers) {
    const Node& node = graph_.node(layer.layer);
    const TensorId weight = node.inputs[1];
    constants_[Index(weight)] = ToDevice(layer.weight, graph_.tensor(weight).shape, false);
    const Shape bias_shape = {static_cast<int64_t>(layer.bias.size())};
    const bool has_bias = node.inputs.size() > 2 && node.inputs[2] != TensorId::kNone;
    torch::Tensor& bias =
        has_bias ? constants_[Index(node.inputs[2])] : added_bias_[Index(layer.layer)];
    bias = ToDevice(layer.bias, bias_shape, false);
    ops_[Index(layer.batch_norm)] = [](const Tensors& in, const OpMode&) -> Tensors {
      return {in[0]};
    };
  }
  return absl::OkStatus();
}

void Interpreter::PlanLifetimes() {
  const std::vector<NodeId> producers = Producers(graph_);
  const std::vector<std::vector<NodeId>> consumers = Consumers(graph_);
  for (size_t t = 0; t < graph_.tensors.size(); ++t) {
    const auto id = static_cast<TensorId>(t);
    if (graph_.tensors[t].is_constant || consumers[t].empty()) continue;
    if (std::count(graph_.outputs.begin(), graph_.outputs.end(), id) != 0) continue;
    const NodeId last = consumers[t].back();
    dying_[Index(last)].push_back(id);
    const Node& reader = graph_.node(last);
    may_overwrite_[Index(last)] = consumers[t].size() == 1 && reader.inputs[0] == id &&
                                  producers[t] != NodeId::kNone &&
                                  MakesFreshOutput(graph_.node(producers[t]).op);
  }
}

absl::Status Interpreter::Prepare() {
  AMC_RETURN_IF_ERROR(CheckDevice(options_.device));
  if (options_.device == Device::kCuda) {  // the same bits every time, and those of fp32
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setBenchmarkCuDNN(false);
    at::globalContext().setAllowTF32CuDNN(false);
    at::globalContext().setAllowTF32CuBLAS(false);
  }
  if (graph_.inputs.size() != 1 || graph_.outputs.empty()) {
    return absl::UnimplementedError(absl::StrCat("the network has ", graph_.inputs.size(),
                                                 " inputs and ", graph_.outputs.size(),
                                                 " outputs, only one input can be run"));
  }
  for (const Node& node : graph_.nodes) {
    AMC_ASSIGN_OR_RETURN(TorchOp op, MakeTorchOp(graph_, node));
    ops_.push_back(std::move(op));
  }
  AMC_RETURN_IF_ERROR(LoadConstants());
  if (options_.fold_batch_norm) AMC_RETURN_IF_ERROR(FoldConstants());
  PlanLifetimes();
  return absl::OkStatus();
}

absl::Status Interpreter::CheckInput(const torch::Tensor& input) const {
  const Tensor& expected = graph_.tensor(graph_.inputs[0]);
  if (!expected.shape_known) return absl::OkStatus();
  const at::IntArrayRef sizes = input.sizes();
  bool fits = sizes.size() == expected.shape.size();
  for (size_t i = 0; fits && i < sizes.size(); ++i) {
    fits = expected.shape[i] == kDynamic || expected.shape[i] == sizes[i];
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("input ", expected.name, " is ",
                                                 absl::StrJoin(sizes, "x"), ", want ",
                                                 ShapeToString(expected.shape)));
}

absl::StatusOr<Tensors> Interpreter::Run(NodeId id, Tensors inputs, bool may_overwrite) {
  AMC_RETURN_IF_ERROR(CheckInterrupt());
  const Node& node = graph_.node(id);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const TensorId input = node.inputs[i];
    if (input == TensorId::kNone) continue;
    if (graph_.tensor(input).is_constant) {
      inputs[i] = constants_[Index(input)];
    } else if (!inputs[i].defined()) {
      return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph_, node), ": input ",
                                                     graph_.tensor(input).name, " is not given"));
    }
  }
  if (const torch::Tensor& bias = added_bias_[Index(id)]; bias.defined()) {
    inputs.resize(3);
    inputs[2] = bias;
  }
  try {
    Tensors outputs = ops_[Index(id)](inputs, {training_, batch_norm_momentum_, may_overwrite});
    if (node.op == Op::kConstant) outputs[0] = outputs[0].to(device_, type_);
    outputs.resize(node.outputs.size());
    return outputs;
  } catch (const std::exception& error) {
    return NodeError(graph_, node, error);
  }
}

absl::StatusOr<Tensors> Interpreter::RunNode(NodeId node, const Tensors& inputs,
                                             bool may_overwrite) {
  if (inputs.size() != graph_.node(node).inputs.size()) {
    return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph_, graph_.node(node)), ": ",
                                                   inputs.size(), " inputs given, want ",
                                                   graph_.node(node).inputs.size()));
  }
  const at::AutoGradMode gradients(training_ && at::GradMode::is_enabled());
  return Run(node, inputs, may_overwrite && may_overwrite_[Index(node)]);
}

absl::StatusOr<torch::Tensor> Interpreter::Forward(const torch::Tensor& input) {
  AMC_RETURN_IF_ERROR(CheckInput(input));
  torch::Tensor converted;
  try {
    converted = input.to(device_, type_);
    if (converted.dim() == 4) converted = converted.contiguous(at::MemoryFormat::ChannelsLast);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("cannot convert the input: ", error.what()));
  }
  return ForwardFrom(0, {{graph_.inputs[0], converted}});
}

bool Interpreter::MayOverwrite(size_t n, const Tensors& inputs,
                               const std::map<TensorId, torch::Tensor>& given) const {
  return may_overwrite_[n] && tap_ == nullptr &&
         std::none_of(given.begin(), given.end(), [&](const auto& activation) {
           return inputs[0].is_alias_of(activation.second);
         });
}

absl::StatusOr<torch::Tensor> Interpreter::ForwardFrom(
    size_t first, const std::map<TensorId, torch::Tensor>& given) {
  const at::AutoGradMode gradients(training_ && at::GradMode::is_enabled());
  Tensors values(graph_.tensors.size());
  for (const auto& [id, activation] : given) values[Index(id)] = activation;
  for (size_t n = first; n < graph_.nodes.size(); ++n) {
    const Node& node = graph_.nodes[n];
    Tensors inputs(node.inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (node.inputs[i] != TensorId::kNone) inputs[i] = values[Index(node.inputs[i])];
    }
    const bool may_overwrite = MayOverwrite(n, inputs, given);
    AMC_ASSIGN_OR_RETURN(Tensors outputs, Run(graph_.node_id(n), std::move(inputs), may_overwrite));
    if (tap_ != nullptr) tap_(graph_.node_id(n), outputs);
    for (const TensorId id : dying_[n]) values[Index(id)] = torch::Tensor();
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] != TensorId::kNone) values[Index(node.outputs[i])] = outputs[i];
    }
  }
  const TensorId output = graph_.outputs[0];
  const torch::Tensor result =
      graph_.tensor(output).is_constant ? constants_[Index(output)] : values[Index(output)];
  if (!result.defined() || result.dim() < 1) {
    return absl::UnimplementedError(
        absl::StrCat("output ", graph_.tensor(output).name, " does not depend on the input"));
  }
  const torch::Tensor logits = result.dim() == 2 ? result : result.reshape({result.size(0), -1});
  return logits.to(at::kFloat);
}

void Interpreter::Train(bool on, double batch_norm_momentum) {
  AMC_CHECK(!on || !folded_) << "training needs a network made with fold_batch_norm = false";
  training_ = on;
  batch_norm_momentum_ = batch_norm_momentum;
  for (const TensorId id : parameters_) constants_[Index(id)].requires_grad_(on);
}

absl::StatusOr<Graph> Interpreter::ToGraph() const {
  if (folded_ || type_ != at::kFloat) {
    return absl::FailedPreconditionError(
        "a network with folded batch norms or bf16 weights is no longer the graph it came from");
  }
  Graph graph = graph_;
  for (size_t t = 0; t < constants_.size(); ++t) {
    if (!constants_[t].defined()) continue;
    const torch::Tensor values = constants_[t].detach().to(at::kCPU).contiguous();
    Buffer bytes(reinterpret_cast<const char*>(values.data_ptr<float>()), values.nbytes());
    if (bytes == *graph.tensors[t].data) continue;  // unchanged weights stay shared
    graph.tensors[t].data = std::make_shared<const Buffer>(std::move(bytes));
  }
  return graph;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TorchNetwork>> TorchNetwork::Create(const Graph& graph,
                                                                   const ExecOptions& options) {
  auto network = std::make_unique<Interpreter>(graph, options);
  try {
    AMC_RETURN_IF_ERROR(network->Prepare());
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("cannot prepare the network: ", error.what()));
  }
  return network;
}

}  // namespace amc
