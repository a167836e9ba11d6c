// Tensor and attribute values between ONNX's messages and ours. Private to onnx_import and
// onnx_export.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/graph/graph.h"
#include "onnx/onnx_pb.h"

namespace amc {

// Takes the bytes out of `proto`. InvalidArgument, starting with `what`: external or segmented
// data, a type that the graph does not have, a negative dimension, a shape that CheckShape refuses
// (nothing is allocated for them), a number of bytes or values that contradicts the shape.
absl::StatusOr<TensorValue> TakeTensor(onnx::TensorProto& proto, absl::string_view what);

// What a tensor says about its type and shape. Sizes that are missing or not positive are
// kDynamic; `known` is false when the rank is missing.
struct DeclaredShape {
  DataType type = DataType::kUndefined;
  bool known = false;
  Shape shape;
  std::vector<std::string> symbols;  // one per dimension, empty for a number
};
DeclaredShape ReadType(const onnx::TypeProto& proto);

// InvalidArgument, starting with `what`: a tensor as above, a reference to a function's attribute,
// or a type that does not exist.
absl::StatusOr<Attribute> TakeAttribute(onnx::AttributeProto& proto, absl::string_view what);

// `data` must hold the bytes.
void WriteTensor(DataType type, const Shape& shape, const Buffer& data, onnx::TensorProto& proto);
// InvalidArgument if an opaque attribute's bytes are no attribute; FailedPrecondition if a tensor
// is weightless.
absl::Status WriteAttribute(const std::string& name, const Attribute& attribute,
                            onnx::AttributeProto& proto);

}  // namespace amc
