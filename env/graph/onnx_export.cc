#include "env/graph/onnx_export.h"

#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/graph/onnx_values.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "onnx/onnx_pb.h"

namespace amc {
namespace {

// Before this version every initializer had to be listed among the graph's inputs as well.
constexpr int64_t kFirstIrWithPlainInitializers = 4;

void WriteValueInfo(const Graph& graph, const Tensor& tensor, onnx::ValueInfoProto& proto) {
  proto.set_name(tensor.name);
  if (tensor.type == DataType::kUndefined) return;
  onnx::TypeProto::Tensor& type = *proto.mutable_type()->mutable_tensor_type();
  type.set_elem_type(static_cast<int32_t>(tensor.type));
  if (!tensor.shape_known) return;
  onnx::TensorShapeProto& shape = *type.mutable_shape();
  for (const int64_t dim : tensor.shape) {
    auto& written = *shape.add_dim();
    if (dim != kDynamic) {
      written.set_dim_value(dim);
    } else if (graph.fixed_batch > 0) {
      written.set_dim_value(graph.fixed_batch);
    } else if (!graph.batch_symbol.empty()) {
      written.set_dim_param(graph.batch_symbol);
    }
  }
}

absl::Status WriteNode(const Graph& graph, const Node& node, onnx::NodeProto& proto) {
  proto.set_name(node.name);
  proto.set_op_type(node.op_type);
  if (!node.domain.empty()) proto.set_domain(node.domain);
  if (!node.doc_string.empty()) proto.set_doc_string(node.doc_string);
  const auto name = [&](TensorId id) {
    return id == TensorId::kNone ? std::string() : graph.tensor(id).name;
  };
  for (const TensorId id : node.inputs) proto.add_input(name(id));
  for (const TensorId id : node.outputs) proto.add_output(name(id));
  for (const auto& [attribute, value] : node.attributes) {
    const absl::Status status = WriteAttribute(attribute, value, *proto.add_attribute());
    if (!status.ok()) return Annotate(status, NodeLabel(graph, node));
  }
  return absl::OkStatus();
}

absl::Status WriteGraph(const Graph& graph, onnx::GraphProto& proto) {
  proto.set_name(graph.name);
  if (!graph.graph_doc_string.empty()) proto.set_doc_string(graph.graph_doc_string);
  for (const Node& node : graph.nodes) {
    AMC_RETURN_IF_ERROR(WriteNode(graph, node, *proto.add_node()));
  }
  // Inputs and outputs are described where they are listed, everything else in value_info.
  std::vector<bool> listed(graph.tensors.size(), false);
  for (const TensorId id : graph.inputs) {
    WriteValueInfo(graph, graph.tensor(id), *proto.add_input());
    listed[Index(id)] = true;
  }
  for (const TensorId id : graph.outputs) {
    WriteValueInfo(graph, graph.tensor(id), *proto.add_output());
    listed[Index(id)] = true;
  }
  for (size_t i = 0; i < graph.tensors.size(); ++i) {
    const Tensor& tensor = graph.tensors[i];
    if (!tensor.is_constant) {
      const bool described = tensor.shape_known && tensor.type != DataType::kUndefined;
      if (described && !listed[i]) WriteValueInfo(graph, tensor, *proto.add_value_info());
      continue;
    }
    if (tensor.data == nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat("tensor ", tensor.name, " of shape ", ShapeToString(tensor.shape),
                       " has no weights: the network cannot be exported"));
    }
    onnx::TensorProto& initializer = *proto.add_initializer();
    initializer.set_name(tensor.name);
    WriteTensor(tensor.type, tensor.shape, *tensor.data, initializer);
    if (graph.ir_version < kFirstIrWithPlainInitializers) {
      WriteValueInfo(graph, tensor, *proto.add_input());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<onnx::ModelProto> WriteModel(const Graph& graph) {
  onnx::ModelProto model;
  model.set_ir_version(graph.ir_version);
  if (!graph.producer_name.empty()) model.set_producer_name(graph.producer_name);
  if (!graph.producer_version.empty()) model.set_producer_version(graph.producer_version);
  if (!graph.domain.empty()) model.set_domain(graph.domain);
  if (graph.model_version != 0) model.set_model_version(graph.model_version);
  if (!graph.doc_string.empty()) model.set_doc_string(graph.doc_string);
  for (const auto& [domain, version] : graph.opsets) {
    onnx::OperatorSetIdProto& opset = *model.add_opset_import();
    opset.set_domain(domain);
    opset.set_version(version);
  }
  for (const auto& [key, value] : graph.metadata) {
    onnx::StringStringEntryProto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }
  AMC_RETURN_IF_ERROR(WriteGraph(graph, *model.mutable_graph()));
  return model;
}

}  // namespace

absl::StatusOr<std::string> ExportOnnx(const Graph& graph) {
  AMC_ASSIGN_OR_RETURN(const onnx::ModelProto model, WriteModel(graph));
  const size_t size = model.ByteSizeLong();
  if (size > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the model takes ", size, " bytes; an ONNX file holds less than 2 GB"));
  }
  std::string bytes;
  bytes.reserve(size);
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    model.SerializeWithCachedSizes(&coded);
  }
  return bytes;
}

absl::Status SaveOnnx(const Graph& graph, const std::string& path) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ExportOnnx(graph));
  return WriteFileAtomically(path, bytes);
}

}  // namespace amc
