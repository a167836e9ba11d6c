#include "env/graph/constant_value.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "env/graph/op_params.h"

namespace amc {
namespace {

using Inputs = absl::Span<const KnownValue* const>;
using Result = std::optional<KnownValue>;

// Larger results are not computed, only viewed or permuted.
constexpr int64_t kMaxComputedElements = int64_t{1} << 16;

int64_t Count(const Shape& shape) {
  const absl::StatusOr<int64_t> count = NumElements(shape);
  return count.ok() ? *count : std::numeric_limits<int64_t>::max();
}

// Whether a result of this shape is computed. A zero dimension does not make the others small: what
// loops over some of them must not take for ever.
bool IsSmall(const Shape& shape) {
  int64_t product = 1;
  for (const int64_t dim : shape) {
    if (dim == 0) continue;
    if (dim < 0 || dim > kMaxComputedElements / product) return false;
    product *= dim;
  }
  return true;
}

bool IsInteger(DataType type) {
  return type == DataType::kInt64 || type == DataType::kInt32 || type == DataType::kBool;
}

template <typename T>
std::vector<T> Read(const KnownValue& value) {
  std::vector<T> elements(value.data->size() / sizeof(T));
  if (!elements.empty()) {
    std::memcpy(elements.data(), value.data->data(), elements.size() * sizeof(T));
  }
  return elements;
}

template <typename T>
std::shared_ptr<const Buffer> Pack(const std::vector<T>& elements) {
  return std::make_shared<const Buffer>(reinterpret_cast<const char*>(elements.data()),
                                        elements.size() * sizeof(T));
}

template <typename T, typename U>
std::vector<T> Convert(const std::vector<U>& from) {
  return std::vector<T>(from.begin(), from.end());
}

// Nothing if `type` is no integer type or a value does not fit into it.
Result MakeIntegers(DataType type, Shape shape, const std::vector<int64_t>& a,
                    std::vector<int64_t> b) {
  KnownValue value{.type = type, .shape = std::move(shape)};
  if (std::any_of(b.begin(), b.end(), [](int64_t x) { return x != 0; })) {
    value.batches = std::move(b);
  }
  switch (type) {
    case DataType::kInt64:
      value.data = Pack(a);
      return value;
    case DataType::kInt32:
      for (const int64_t x : a) {
        if (x != static_cast<int32_t>(x)) return std::nullopt;
      }
      value.data = Pack(Convert<int32_t>(a));
      return value;
    case DataType::kBool: {
      std::vector<uint8_t> bits(a.size());
      std::transform(a.begin(), a.end(), bits.begin(), [](int64_t x) { return x != 0; });
      value.data = Pack(bits);
      return value;
    }
    default:
      return std::nullopt;
  }
}

// Element (i0, i1, ...) of the result is element offset + i0 strides[0] + i1 strides[1] + ... of
// `in`. All of them must exist.
KnownValue Strided(const KnownValue& in, const Shape& shape, const std::vector<int64_t>& strides,
                   int64_t offset) {
  const auto size = static_cast<size_t>(ElementSize(in.type));
  const auto count = static_cast<size_t>(Count(shape));
  KnownValue out{.type = in.type, .shape = shape};
  Buffer bytes(count * size, '\0');
  if (!in.is_constant()) out.batches.resize(count);
  std::vector<int64_t> at(shape.size(), 0);
  int64_t source = offset;
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(bytes.data() + i * size, in.data->data() + static_cast<size_t>(source) * size,
                size);
    if (!in.is_constant()) out.batches[i] = in.batches[static_cast<size_t>(source)];
    for (size_t dim = shape.size(); dim-- > 0;) {
      source += strides[dim];
      if (++at[dim] < shape[dim]) break;
      source -= strides[dim] * shape[dim];
      at[dim] = 0;
    }
  }
  out.data = std::make_shared<const Buffer>(std::move(bytes));
  return out;
}

std::vector<int64_t> RowMajor(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t dim = shape.size(); dim-- > 1;) strides[dim - 1] = strides[dim] * shape[dim];
  return strides;
}

const Shape& OutputShape(const Graph& graph, const Node& node) {
  return graph.tensor(node.outputs[0]).shape;
}

// Reshape, Flatten, Squeeze, Unsqueeze, Identity: the same elements in the same order.
Result View(const Graph& graph, const Node& node, Inputs in) {
  if (Count(OutputShape(graph, node)) != Count(in[0]->shape)) return std::nullopt;
  KnownValue out = *in[0];
  out.shape = OutputShape(graph, node);
  return out;
}

Result Transpose(const Graph& graph, const Node& node, Inputs in) {
  const auto permutation = GetPermutation(graph, node);
  if (!permutation.ok() || permutation->size() != in[0]->shape.size()) return std::nullopt;
  const std::vector<int64_t> from = RowMajor(in[0]->shape);
  Shape shape;
  std::vector<int64_t> strides;
  for (const int64_t axis : *permutation) {
    shape.push_back(in[0]->shape[axis]);
    strides.push_back(from[axis]);
  }
  return Strided(*in[0], shape, strides, 0);
}

Result Slice(const Graph& graph, const Node& node, Inputs in) {
  const auto slice = GetSliceParams(graph, node);
  if (!slice.ok()) return std::nullopt;
  const Shape& shape = OutputShape(graph, node);
  const std::vector<int64_t> from = RowMajor(in[0]->shape);
  std::vector<int64_t> strides = from;
  int64_t offset = 0;
  if (Count(shape) == 0) return Strided(*in[0], shape, strides, offset);
  for (const SliceParams::Range& range : slice->ranges) {
    offset += range.start * from[range.axis];
    strides[range.axis] = from[range.axis] * range.step;
  }
  return Strided(*in[0], shape, strides, offset);
}

Result Gather(const Graph& graph, const Node& node, Inputs in) {
  const auto rank = static_cast<int64_t>(in[0]->shape.size());
  const auto attribute = GetInt(graph, node, "axis", 0);
  if (!attribute.ok() || !IsInteger(in[1]->type) || !in[1]->is_constant()) return std::nullopt;
  const int64_t axis = *attribute < 0 ? *attribute + rank : *attribute;
  if (axis < 0 || axis >= rank) return std::nullopt;
  const int64_t size = in[0]->shape[axis];
  Shape shape(in[0]->shape.begin(), in[0]->shape.begin() + axis);
  shape.insert(shape.end(), in[1]->shape.begin(), in[1]->shape.end());
  shape.insert(shape.end(), in[0]->shape.begin() + axis + 1, in[0]->shape.end());
  if (!IsSmall(shape)) return std::nullopt;
  const Shape outer(in[0]->shape.begin(), in[0]->shape.begin() + axis);
  const Shape inner(in[0]->shape.begin() + axis + 1, in[0]->shape.end());
  const auto element = static_cast<size_t>(ElementSize(in[0]->type));
  const int64_t run = Count(inner);
  KnownValue out{.type = in[0]->type, .shape = std::move(shape)};
  Buffer bytes;
  for (int64_t o = 0; o < Count(outer); ++o) {
    for (int64_t index : Integers(*in[1])) {
      if (index < 0) index += size;
      if (index < 0 || index >= size) return std::nullopt;
      const auto begin = static_cast<size_t>((o * size + index) * run);
      bytes.append(*in[0]->data, begin * element, static_cast<size_t>(run) * element);
      if (in[0]->is_constant()) continue;
      out.batches.insert(out.batches.end(), in[0]->batches.begin() + begin,
                         in[0]->batches.begin() + begin + run);
    }
  }
  out.data = std::make_shared<const Buffer>(std::move(bytes));
  return out;
}

Result Concat(const Graph& graph, const Node& node, Inputs in) {
  const Shape& shape = OutputShape(graph, node);
  const auto axis = GetAxis(graph, node);
  if (!axis.ok() || !IsSmall(shape)) return std::nullopt;
  const Shape outer(shape.begin(), shape.begin() + *axis);
  KnownValue out{.type = in[0]->type, .shape = shape};
  const auto element = static_cast<size_t>(ElementSize(out.type));
  const bool symbolic =
      std::any_of(in.begin(), in.end(), [](const KnownValue* v) { return !v->is_constant(); });
  Buffer bytes;
  for (int64_t o = 0; o < Count(outer); ++o) {
    for (const KnownValue* part : in) {
      if (part->type != out.type) return std::nullopt;
      const auto run = static_cast<size_t>(Count(part->shape) / Count(outer));
      bytes.append(*part->data, static_cast<size_t>(o) * run * element, run * element);
      if (!symbolic) continue;
      for (size_t i = 0; i < run; ++i) {
        out.batches.push_back(
            part->is_constant() ? 0 : part->batches[static_cast<size_t>(o) * run + i]);
      }
    }
  }
  out.data = std::make_shared<const Buffer>(std::move(bytes));
  return out;
}

Result Cast(const Graph& graph, const Node& node, Inputs in) {
  const auto to = GetInt(graph, node, "to", 0);
  if (!to.ok() || Count(in[0]->shape) > kMaxComputedElements) return std::nullopt;
  const auto type = static_cast<DataType>(*to);
  if (type == in[0]->type) return *in[0];
  if (IsInteger(in[0]->type)) {
    const std::vector<int64_t> a = Integers(*in[0]);
    if (type != DataType::kFloat) {
      if (type == DataType::kBool && !in[0]->is_constant()) return std::nullopt;
      return MakeIntegers(type, in[0]->shape, a, in[0]->batches);
    }
    if (!in[0]->is_constant()) return std::nullopt;
    return KnownValue{.type = type, .shape = in[0]->shape, .data = Pack(Convert<float>(a))};
  }
  if (in[0]->type != DataType::kFloat || !IsInteger(type)) return std::nullopt;
  std::vector<int64_t> truncated;
  for (const float x : Read<float>(*in[0])) {
    if (!(std::abs(x) < 0x1.0p62F)) return std::nullopt;
    truncated.push_back(type == DataType::kBool ? x != 0 : static_cast<int64_t>(x));
  }
  return MakeIntegers(type, in[0]->shape, truncated, {});
}

Result ShapeOf(const Graph& graph, const Node& node) {
  const Tensor& x = graph.tensor(node.inputs[0]);
  if (!x.shape_known) return std::nullopt;
  const auto rank = static_cast<int64_t>(x.shape.size());
  const auto start = GetInt(graph, node, "start", 0);
  const auto end = GetInt(graph, node, "end", rank);
  if (!start.ok() || !end.ok()) return std::nullopt;
  const auto clamp = [&](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  const int64_t first = clamp(*start);
  const int64_t last = std::max(first, clamp(*end));
  return ShapeValue(Shape(x.shape.begin() + first, x.shape.begin() + last));
}

Result ConstantOfShape(const Node& node, Inputs in) {
  if (in[0]->type != DataType::kInt64 || !in[0]->is_constant()) return std::nullopt;
  const Shape shape = Integers(*in[0]);
  if (!IsSmall(shape)) return std::nullopt;
  KnownValue element{.type = DataType::kFloat, .data = Pack(std::vector<float>{0})};
  if (const auto it = node.attributes.find("value"); it != node.attributes.end()) {
    const auto* value = std::get_if<TensorValue>(&it->second);
    if (value == nullptr || value->data == nullptr || Count(value->shape) != 1) {
      return std::nullopt;
    }
    element.type = value->type;
    element.data = value->data;
  }
  return Strided(element, shape, std::vector<int64_t>(shape.size(), 0), 0);
}

// a + b N, without overflow.
struct Linear {
  int64_t a = 0, b = 0;
};

std::optional<Linear> Times(Linear x, Linear y) {
  if (x.b != 0 && y.b != 0) return std::nullopt;
  Linear out;
  int64_t xb = 0;
  int64_t yb = 0;
  if (__builtin_mul_overflow(x.a, y.a, &out.a) || __builtin_mul_overflow(x.b, y.a, &xb) ||
      __builtin_mul_overflow(x.a, y.b, &yb)) {
    return std::nullopt;
  }
  out.b = xb + yb;  // one of them is zero
  return out;
}

std::optional<Linear> Over(Linear x, Linear y) {
  if (y.b != 0) {  // N cancels
    if (x.a != 0 || y.a != 0 || y.b == -1 || x.b % y.b != 0) return std::nullopt;
    return Linear{x.b / y.b, 0};
  }
  if (y.a == 0 || y.a == -1) return std::nullopt;
  if (x.b != 0 && (x.a % y.a != 0 || x.b % y.a != 0)) return std::nullopt;
  return Linear{x.a / y.a, x.b / y.a};
}

// Whether x == y for every batch size, for none, or it depends.
std::optional<Linear> Equal(Linear x, Linear y) {
  if (x.a == y.a && x.b == y.b) return Linear{1, 0};
  if (x.b == y.b) return Linear{0, 0};
  if (y.b != 0) std::swap(x, y);
  if (y.b == 0 && x.b > 0 && x.a >= 0 && y.a <= 0) return Linear{0, 0};  // N is at least 1
  return std::nullopt;
}

std::optional<Linear> Combine(const std::string& op, Linear x, Linear y) {
  Linear out;
  if (op == "Mul") return Times(x, y);
  if (op == "Div") return Over(x, y);
  if (op == "Equal") return Equal(x, y);
  if (op == "Add") {
    if (__builtin_add_overflow(x.a, y.a, &out.a) || __builtin_add_overflow(x.b, y.b, &out.b)) {
      return std::nullopt;
    }
    return out;
  }
  if (op != "Sub" || __builtin_sub_overflow(x.a, y.a, &out.a) ||
      __builtin_sub_overflow(x.b, y.b, &out.b)) {
    return std::nullopt;
  }
  return out;
}

float Combine(const std::string& op, float x, float y) {
  if (op == "Mul") return x * y;
  if (op == "Div") return x / y;
  return op == "Add" ? x + y : x - y;
}

// Numpy's broadcasting; nothing if it fails or the result is large.
std::optional<Shape> Broadcast(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) return std::nullopt;
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  if (!IsSmall(out)) return std::nullopt;
  return out;
}

KnownValue Expanded(const KnownValue& in, const Shape& shape) {
  const std::vector<int64_t> from = RowMajor(in.shape);
  std::vector<int64_t> strides(shape.size(), 0);
  const size_t shift = shape.size() - in.shape.size();
  for (size_t i = 0; i < in.shape.size(); ++i) {
    if (in.shape[i] != 1) strides[i + shift] = from[i];
  }
  return Strided(in, shape, strides, 0);
}

Linear At(const std::vector<int64_t>& a, const KnownValue& value, size_t i) {
  return {a[i], value.is_constant() ? 0 : value.batches[i]};
}

Result Binary(const std::string& op, Inputs in) {
  if (in[0]->type != in[1]->type) return std::nullopt;
  const std::optional<Shape> shape = Broadcast(in[0]->shape, in[1]->shape);
  if (!shape) return std::nullopt;
  const KnownValue x = Expanded(*in[0], *shape);
  const KnownValue y = Expanded(*in[1], *shape);
  if (x.type == DataType::kFloat && op != "Equal") {
    std::vector<float> result = Read<float>(x);
    const std::vector<float> right = Read<float>(y);
    for (size_t i = 0; i < result.size(); ++i) result[i] = Combine(op, result[i], right[i]);
    return KnownValue{.type = x.type, .shape = *shape, .data = Pack(result)};
  }
  if (!IsInteger(x.type)) return std::nullopt;
  const std::vector<int64_t> xs = Integers(x);
  const std::vector<int64_t> ys = Integers(y);
  std::vector<int64_t> a;
  std::vector<int64_t> b;
  for (size_t i = 0; i < xs.size(); ++i) {
    const std::optional<Linear> result = Combine(op, At(xs, x, i), At(ys, y, i));
    if (!result) return std::nullopt;
    a.push_back(result->a);
    b.push_back(result->b);
  }
  return MakeIntegers(op == "Equal" ? DataType::kBool : x.type, *shape, a, std::move(b));
}

Result Where(Inputs in) {
  if (in[0]->type != DataType::kBool || !in[0]->is_constant() || in[1]->type != in[2]->type ||
      !IsInteger(in[1]->type)) {
    return std::nullopt;
  }
  std::optional<Shape> shape = Broadcast(in[1]->shape, in[2]->shape);
  if (shape) shape = Broadcast(in[0]->shape, *shape);
  if (!shape) return std::nullopt;
  const std::vector<int64_t> condition = Integers(Expanded(*in[0], *shape));
  const KnownValue x = Expanded(*in[1], *shape);
  const KnownValue y = Expanded(*in[2], *shape);
  const std::vector<int64_t> xs = Integers(x);
  const std::vector<int64_t> ys = Integers(y);
  std::vector<int64_t> a;
  std::vector<int64_t> b;
  for (size_t i = 0; i < condition.size(); ++i) {
    const Linear chosen = condition[i] != 0 ? At(xs, x, i) : At(ys, y, i);
    a.push_back(chosen.a);
    b.push_back(chosen.b);
  }
  return MakeIntegers(x.type, *shape, a, std::move(b));
}

Result Expand(Inputs in) {
  if (in[1]->type != DataType::kInt64 || !in[1]->is_constant()) return std::nullopt;
  const Shape target = Integers(*in[1]);
  if (std::any_of(target.begin(), target.end(), [](int64_t d) { return d < 0; })) {
    return std::nullopt;
  }
  const std::optional<Shape> shape = Broadcast(in[0]->shape, target);
  return shape ? Result(Expanded(*in[0], *shape)) : std::nullopt;
}

Result Round(const std::string& op, Inputs in) {
  if (in[0]->type != DataType::kFloat || Count(in[0]->shape) > kMaxComputedElements) {
    return std::nullopt;
  }
  std::vector<float> values = Read<float>(*in[0]);
  for (float& x : values) x = op == "Floor" ? std::floor(x) : std::ceil(x);
  return KnownValue{.type = in[0]->type, .shape = in[0]->shape, .data = Pack(values)};
}

// Over all axes of a vector: how exporters count elements.
Result ReduceProd(const Graph& graph, const Node& node, Inputs in) {
  const auto keep_dims = GetInt(graph, node, "keepdims", 1);
  if (!keep_dims.ok() || !IsInteger(in[0]->type) || in[0]->shape.size() != 1) return std::nullopt;
  const std::vector<int64_t> a = Integers(*in[0]);
  Linear product{1, 0};
  for (size_t i = 0; i < a.size(); ++i) {
    const std::optional<Linear> next = Times(product, At(a, *in[0], i));
    if (!next) return std::nullopt;
    product = *next;
  }
  return MakeIntegers(in[0]->type, *keep_dims != 0 ? Shape{1} : Shape{}, {product.a}, {product.b});
}

Result Dispatch(const Graph& graph, const Node& node, Inputs in) {
  if (!node.domain.empty() && node.domain != "ai.onnx") return std::nullopt;
  const std::string& op = node.op_type;
  if (op == "Shape") {
    const bool reads = !node.inputs.empty() && node.inputs[0] != TensorId::kNone;
    return reads ? ShapeOf(graph, node) : std::nullopt;
  }
  if (in.empty() || std::find(in.begin(), in.end(), nullptr) != in.end()) return std::nullopt;
  if (node.op != Op::kUnknown && !graph.tensor(node.outputs[0]).shape_known) return std::nullopt;
  switch (node.op) {
    case Op::kIdentity:
    case Op::kReshape:
    case Op::kFlatten:
    case Op::kSqueeze:
    case Op::kUnsqueeze:
      return View(graph, node, in);
    case Op::kTranspose:
      return Transpose(graph, node, in);
    case Op::kSlice:
      return Slice(graph, node, in);
    case Op::kConcat:
      return Concat(graph, node, in);
    case Op::kAdd:
    case Op::kSub:
    case Op::kMul:
      return Binary(op, in);
    case Op::kUnknown:
      break;
    default:
      return std::nullopt;
  }
  if (op == "Cast" && in.size() == 1) return Cast(graph, node, in);
  if (op == "ConstantOfShape" && in.size() == 1) return ConstantOfShape(node, in);
  if (op == "Gather" && in.size() == 2) return Gather(graph, node, in);
  if (op == "Expand" && in.size() == 2) return Expand(in);
  if ((op == "Div" || op == "Equal") && in.size() == 2) return Binary(op, in);
  if (op == "Where" && in.size() == 3) return Where(in);
  if ((op == "Floor" || op == "Ceil") && in.size() == 1) return Round(op, in);
  if (op == "ReduceProd" && in.size() == 1) return ReduceProd(graph, node, in);
  return std::nullopt;
}

}  // namespace

std::vector<int64_t> Integers(const KnownValue& value) {
  switch (value.type) {
    case DataType::kInt64:
      return Read<int64_t>(value);
    case DataType::kInt32:
      return Convert<int64_t>(Read<int32_t>(value));
    case DataType::kBool:
      return Convert<int64_t>(Read<uint8_t>(value));
    default:
      return {};
  }
}

std::optional<KnownValue> ConstantValue(const Graph& graph, TensorId id) {
  if (id == TensorId::kNone) return std::nullopt;
  const Tensor& tensor = graph.tensor(id);
  if (!tensor.is_constant || tensor.data == nullptr) return std::nullopt;
  return KnownValue{.type = tensor.type, .shape = tensor.shape, .data = tensor.data};
}

KnownValue ShapeValue(const Shape& shape) {
  std::vector<int64_t> a = shape;
  std::vector<int64_t> b(shape.size(), 0);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == kDynamic) {
      a[i] = 0;
      b[i] = 1;
    }
  }
  return *MakeIntegers(DataType::kInt64, {static_cast<int64_t>(shape.size())}, a, std::move(b));
}

std::optional<KnownValue> Evaluate(const Graph& graph, const Node& node, Inputs in) {
  Result value = Dispatch(graph, node, in);
  if (value && std::count(value->batches.begin(), value->batches.end(), 0) ==
                   static_cast<std::ptrdiff_t>(value->batches.size())) {
    value->batches.clear();  // a constant part of something that depends on the batch
  }
  return value;
}

}  // namespace amc
