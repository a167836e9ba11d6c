// Small ONNX models for tests, field by field, so that each can be broken in one place.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnx/onnx_pb.h"

namespace amc::testing {

inline onnx::ValueInfoProto* SetValue(onnx::ValueInfoProto* value, const std::string& name,
                                      const std::vector<std::string>& dims) {
  value->set_name(name);
  auto* tensor = value->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(onnx::TensorProto::FLOAT);
  tensor->mutable_shape();
  for (const std::string& dim : dims) {
    auto* added = tensor->mutable_shape()->add_dim();
    const bool is_number =
        !dim.empty() && dim.find_first_not_of("-0123456789") == std::string::npos;
    if (is_number) {
      added->set_dim_value(std::stoll(dim));
    } else if (!dim.empty()) {
      added->set_dim_param(dim);
    }
  }
  return value;
}

inline onnx::NodeProto* AddNode(onnx::ModelProto& model, const std::string& op_type,
                                const std::string& name, const std::vector<std::string>& inputs,
                                const std::vector<std::string>& outputs) {
  onnx::NodeProto* node = model.mutable_graph()->add_node();
  node->set_op_type(op_type);
  node->set_name(name);
  for (const std::string& input : inputs) node->add_input(input);
  for (const std::string& output : outputs) node->add_output(output);
  return node;
}

inline void AddInts(onnx::NodeProto* node, const std::string& name,
                    const std::vector<int64_t>& values) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute->add_ints(value);
}

inline onnx::TensorProto* AddFloats(onnx::ModelProto& model, const std::string& name,
                                    const std::vector<int64_t>& dims) {
  onnx::TensorProto* tensor = model.mutable_graph()->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  int64_t count = 1;
  for (const int64_t dim : dims) {
    tensor->add_dims(dim);
    count *= dim;
  }
  for (int64_t i = 0; i < count; ++i) {
    tensor->add_float_data(0.01F * static_cast<float>(i % 100) - 0.5F);
  }
  return tensor;
}

inline onnx::TensorProto* AddInitializerInts(onnx::ModelProto& model, const std::string& name,
                                             const std::vector<int64_t>& values) {
  onnx::TensorProto* tensor = model.mutable_graph()->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::INT64);
  tensor->add_dims(static_cast<int64_t>(values.size()));
  for (const int64_t value : values) tensor->add_int64_data(value);
  return tensor;
}

// input (batch x 3 x 8 x 8) -> Conv conv -> Relu relu -> Flatten flatten -> Gemm fc -> logits.
inline onnx::ModelProto SmallModel(const std::string& batch = "batch", int64_t opset = 13) {
  onnx::ModelProto model;
  model.set_ir_version(7);
  model.set_producer_name("maker");
  model.set_producer_version("1.2");
  auto* import = model.add_opset_import();
  import->set_version(opset);
  model.mutable_graph()->set_name("small");
  SetValue(model.mutable_graph()->add_input(), "input", {batch, "3", "8", "8"});
  SetValue(model.mutable_graph()->add_output(), "logits", {batch, "5"});
  AddFloats(model, "conv.weight", {4, 3, 3, 3});
  AddFloats(model, "conv.bias", {4});
  AddFloats(model, "fc.weight", {144, 5});
  AddInts(AddNode(model, "Conv", "conv", {"input", "conv.weight", "conv.bias"}, {"c"}),
          "kernel_shape", {3, 3});
  AddNode(model, "Relu", "relu", {"c"}, {"r"});
  AddNode(model, "Flatten", "flatten", {"r"}, {"f"});
  AddNode(model, "Gemm", "fc", {"f", "fc.weight"}, {"logits"});
  return model;
}

// The same with a Reshape to `target` in Flatten's place.
inline onnx::ModelProto ModelWithReshape(const std::string& batch,
                                         const std::vector<int64_t>& target) {
  onnx::ModelProto model = SmallModel(batch);
  onnx::NodeProto* node = model.mutable_graph()->mutable_node(2);
  node->set_op_type("Reshape");
  node->add_input("target");
  AddInitializerInts(model, "target", target);
  return model;
}

}  // namespace amc::testing
