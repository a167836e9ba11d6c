#include "env/graph/onnx_values.h"

#include <cstring>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/shape_inference.h"

namespace amc {
namespace {

absl::Status Invalid(absl::string_view what, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", message));
}

absl::StatusOr<DataType> ReadDataType(int32_t number, absl::string_view what) {
  const auto type = static_cast<DataType>(number);
  if (ElementSize(type) == 0) {
    const bool named = onnx::TensorProto::DataType_IsValid(number);
    return Invalid(what, absl::StrCat("data type ", number, " (",
                                      named ? onnx::TensorProto::DataType_Name(
                                                  static_cast<onnx::TensorProto::DataType>(number))
                                            : "unknown",
                                      ") is not supported"));
  }
  return type;
}

// Typed values to bytes; each value is narrowed to T, as ONNX stores small integers in int32_data.
template <typename T, typename Values>
absl::StatusOr<Buffer> Pack(const Values& values, int64_t count, absl::string_view what) {
  if (values.size() != count) {
    return Invalid(what, absl::StrCat("holds ", values.size(), " values, expected ", count));
  }
  Buffer bytes(static_cast<size_t>(count) * sizeof(T), '\0');
  for (int i = 0; i < values.size(); ++i) {
    const auto value = static_cast<T>(values.Get(i));
    std::memcpy(bytes.data() + static_cast<size_t>(i) * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

absl::StatusOr<Buffer> PackTyped(const onnx::TensorProto& proto, DataType type, int64_t count,
                                 absl::string_view what) {
  switch (type) {
    case DataType::kFloat:
      return Pack<float>(proto.float_data(), count, what);
    case DataType::kDouble:
      return Pack<double>(proto.double_data(), count, what);
    case DataType::kInt64:
      return Pack<int64_t>(proto.int64_data(), count, what);
    case DataType::kInt32:
      return Pack<int32_t>(proto.int32_data(), count, what);
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return Pack<uint16_t>(proto.int32_data(), count, what);
    default:
      return Pack<uint8_t>(proto.int32_data(), count, what);  // int8, uint8, bool
  }
}

template <typename T, typename Values>
std::vector<T> ToVector(const Values& values) {
  return std::vector<T>(values.begin(), values.end());
}

// Files of the first IR version lack the type; then the field that is filled tells.
onnx::AttributeProto::AttributeType AttributeType(const onnx::AttributeProto& proto) {
  using A = onnx::AttributeProto;
  if (proto.has_type() && proto.type() != A::UNDEFINED) return proto.type();
  if (proto.has_f()) return A::FLOAT;
  if (proto.has_i()) return A::INT;
  if (proto.has_s()) return A::STRING;
  if (proto.has_t()) return A::TENSOR;
  if (proto.floats_size() > 0) return A::FLOATS;
  if (proto.ints_size() > 0) return A::INTS;
  if (proto.strings_size() > 0) return A::STRINGS;
  return A::UNDEFINED;
}

}  // namespace

absl::StatusOr<TensorValue> TakeTensor(onnx::TensorProto& proto, absl::string_view what) {
  if (proto.data_location() == onnx::TensorProto::EXTERNAL || proto.external_data_size() > 0) {
    return Invalid(what, "its data is in another file; save the model as a single ONNX file");
  }
  if (proto.has_segment()) return Invalid(what, "segmented tensors are not supported");
  TensorValue value;
  AMC_ASSIGN_OR_RETURN(value.type, ReadDataType(proto.data_type(), what));
  value.shape = ToVector<int64_t>(proto.dims());
  for (const int64_t dim : value.shape) {
    if (dim < 0) return Invalid(what, absl::StrCat("has the negative dimension ", dim));
  }
  if (const absl::Status status = CheckShape(value.shape); !status.ok()) {
    return Annotate(status, what);
  }
  AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(value.shape));
  if (proto.has_raw_data()) {
    const int64_t expected = elements * ElementSize(value.type);
    if (static_cast<int64_t>(proto.raw_data().size()) != expected) {
      return Invalid(what, absl::StrCat("holds ", proto.raw_data().size(), " bytes, expected ",
                                        expected, " for ", DataTypeName(value.type), " of shape ",
                                        ShapeToString(value.shape)));
    }
    value.data = std::make_shared<const Buffer>(std::move(*proto.mutable_raw_data()));
    return value;
  }
  AMC_ASSIGN_OR_RETURN(Buffer bytes,
                       PackTyped(proto, value.type, elements,
                                 absl::StrCat(what, " of shape ", ShapeToString(value.shape))));
  value.data = std::make_shared<const Buffer>(std::move(bytes));
  return value;
}

DeclaredShape ReadType(const onnx::TypeProto& proto) {
  DeclaredShape declared;
  if (!proto.has_tensor_type()) return declared;
  declared.type = static_cast<DataType>(proto.tensor_type().elem_type());
  if (!proto.tensor_type().has_shape()) return declared;
  declared.known = true;
  for (const auto& dim : proto.tensor_type().shape().dim()) {
    const bool fixed = dim.has_dim_value() && dim.dim_value() > 0;
    declared.shape.push_back(fixed ? dim.dim_value() : kDynamic);
    declared.symbols.push_back(dim.dim_param());
  }
  return declared;
}

absl::StatusOr<Attribute> TakeAttribute(onnx::AttributeProto& proto, absl::string_view what) {
  using A = onnx::AttributeProto;
  if (!proto.ref_attr_name().empty()) {
    return Invalid(what, "refers to an attribute of a function, outside of any");
  }
  switch (AttributeType(proto)) {
    case A::FLOAT:
      return Attribute(proto.f());
    case A::INT:
      return Attribute(static_cast<int64_t>(proto.i()));
    case A::STRING:
      return Attribute(proto.s());
    case A::FLOATS:
      return Attribute(ToVector<float>(proto.floats()));
    case A::INTS:
      return Attribute(ToVector<int64_t>(proto.ints()));
    case A::STRINGS:
      return Attribute(ToVector<std::string>(proto.strings()));
    case A::TENSOR: {
      AMC_ASSIGN_OR_RETURN(TensorValue value, TakeTensor(*proto.mutable_t(), what));
      return Attribute(std::move(value));
    }
    case A::UNDEFINED:
      return Invalid(what, "has neither type nor value");
    default:
      return Attribute(OpaqueAttribute{proto.SerializeAsString()});
  }
}

void WriteTensor(DataType type, const Shape& shape, const Buffer& data, onnx::TensorProto& proto) {
  proto.set_data_type(static_cast<int32_t>(type));
  for (const int64_t dim : shape) proto.add_dims(dim);
  proto.set_raw_data(data);
}

absl::Status WriteAttribute(const std::string& name, const Attribute& attribute,
                            onnx::AttributeProto& proto) {
  using A = onnx::AttributeProto;
  proto.set_name(name);
  return std::visit(
      [&](const auto& value) -> absl::Status {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, int64_t>) {
          proto.set_type(A::INT);
          proto.set_i(value);
        } else if constexpr (std::is_same_v<T, float>) {
          proto.set_type(A::FLOAT);
          proto.set_f(value);
        } else if constexpr (std::is_same_v<T, std::string>) {
          proto.set_type(A::STRING);
          proto.set_s(value);
        } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
          proto.set_type(A::INTS);
          proto.mutable_ints()->Add(value.begin(), value.end());
        } else if constexpr (std::is_same_v<T, std::vector<float>>) {
          proto.set_type(A::FLOATS);
          proto.mutable_floats()->Add(value.begin(), value.end());
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          proto.set_type(A::STRINGS);
          for (const std::string& s : value) proto.add_strings(s);
        } else if constexpr (std::is_same_v<T, TensorValue>) {
          if (value.data == nullptr) {
            return absl::FailedPreconditionError(
                absl::StrCat("attribute ", name, " is a tensor without weights"));
          }
          proto.set_type(A::TENSOR);
          WriteTensor(value.type, value.shape, *value.data, *proto.mutable_t());
        } else {
          if (!proto.ParseFromString(value.bytes)) {
            return absl::InvalidArgumentError(absl::StrCat(
                "attribute ", name, ": ", value.bytes.size(), " bytes that are no ONNX attribute"));
          }
          proto.set_name(name);
        }
        return absl::OkStatus();
      },
      attribute);
}

}  // namespace amc
