#include "env/prune/constant_slicing.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

// Neighbouring kept positions, copied in one go.
struct Run {
  int64_t begin = 0, length = 0;
};

std::vector<Run> RunsOf(absl::Span<const int32_t> kept) {
  std::vector<Run> runs;
  for (const int32_t position : kept) {
    if (!runs.empty() && runs.back().begin + runs.back().length == position) {
      ++runs.back().length;
    } else {
      runs.push_back({position, 1});
    }
  }
  return runs;
}

// Bytes of the elements behind the first `dims` dimensions together.
absl::StatusOr<int64_t> InnerBytes(const Tensor& tensor, size_t dims) {
  AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(tensor.shape));
  const int64_t element_size = ElementSize(tensor.type);
  const auto size = static_cast<int64_t>(tensor.data->size());
  if (element_size == 0 || size != elements * element_size) {
    return absl::InvalidArgumentError(absl::StrCat("constant ", tensor.name, ": ", size,
                                                   " bytes for ", ShapeToString(tensor.shape),
                                                   " of ", std::string(DataTypeName(tensor.type))));
  }
  int64_t bytes = element_size;
  for (size_t d = dims; d < tensor.shape.size(); ++d) bytes *= tensor.shape[d];
  return bytes;
}

}  // namespace

absl::StatusOr<Tensor> SliceConstant(const Tensor& tensor, int dim,
                                     absl::Span<const int32_t> kept) {
  Tensor sliced = tensor;
  sliced.shape[dim] = static_cast<int64_t>(kept.size());
  if (tensor.data == nullptr) return sliced;
  AMC_ASSIGN_OR_RETURN(const int64_t inner, InnerBytes(tensor, dim + 1));
  const int64_t outer = inner * tensor.shape[dim];
  const std::vector<Run> runs = RunsOf(kept);
  auto bytes = std::make_shared<Buffer>();
  const auto size = static_cast<int64_t>(tensor.data->size());
  bytes->reserve(outer == 0 ? 0 : size / outer * inner * kept.size());
  for (int64_t offset = 0; offset < size; offset += outer) {
    for (const Run& run : runs) {
      bytes->append(tensor.data->data() + offset + run.begin * inner, run.length * inner);
    }
  }
  sliced.data = std::move(bytes);
  return sliced;
}

absl::StatusOr<Tensor> SliceGroupedWeight(const Tensor& weight, int64_t groups,
                                          absl::Span<const int32_t> rows,
                                          absl::Span<const int32_t> columns) {
  const int64_t rows_per_group = weight.shape[0] / groups;
  const int64_t columns_per_group = weight.shape[1];
  Tensor sliced = weight;
  sliced.shape[0] = static_cast<int64_t>(rows.size());
  sliced.shape[1] = static_cast<int64_t>(columns.size()) / groups;
  if (weight.data == nullptr) return sliced;
  AMC_ASSIGN_OR_RETURN(const int64_t inner, InnerBytes(weight, 2));
  std::vector<std::vector<int32_t>> columns_of_group(groups);
  for (const int32_t column : columns) {
    columns_of_group[column / columns_per_group].push_back(column % columns_per_group);
  }
  std::vector<std::vector<Run>> runs_of_group;
  runs_of_group.reserve(columns_of_group.size());
  for (const std::vector<int32_t>& own : columns_of_group) runs_of_group.push_back(RunsOf(own));
  auto bytes = std::make_shared<Buffer>();
  bytes->reserve(rows.size() * sliced.shape[1] * inner);
  for (const int32_t row : rows) {
    for (const Run& run : runs_of_group[row / rows_per_group]) {
      bytes->append(weight.data->data() + (row * columns_per_group + run.begin) * inner,
                    run.length * inner);
    }
  }
  sliced.data = std::move(bytes);
  return sliced;
}

}  // namespace amc
