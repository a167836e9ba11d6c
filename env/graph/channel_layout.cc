// Rules of ChannelTracer for operators that move, cut and join slots without computing.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/graph/channel_tracer.h"
#include "env/graph/op_params.h"

namespace amc {
namespace {

// Product of the dimensions [begin, end), a dynamic one counting as 1; 0 if it leaves int64_t.
int64_t Product(const Shape& shape, int begin, int end) {
  int64_t product = 1;
  for (int d = begin; d < end; ++d) {
    if (shape[d] != kDynamic && __builtin_mul_overflow(product, shape[d], &product)) return 0;
  }
  return product;
}

}  // namespace

std::optional<FollowedAxis> FollowReshape(const Shape& from, int dim, const Shape& to) {
  const int from_rank = static_cast<int>(from.size());
  const int to_rank = static_cast<int>(to.size());
  if (dim >= from_rank || to_rank == 0 || from[dim] == kDynamic) return std::nullopt;
  if ((from[0] == kDynamic) != (to[0] == kDynamic)) return std::nullopt;
  if (Product(from, 0, from_rank) != Product(to, 0, to_rank)) return std::nullopt;
  const int64_t before = Product(from, 0, dim);
  const int64_t after = Product(from, dim + 1, from_rank);
  if (before <= 0 || after <= 0) return std::nullopt;
  for (int d = 0; d < to_rank; ++d) {
    if (to[d] == kDynamic) continue;
    const int64_t to_before = Product(to, 0, d);
    const int64_t to_after = Product(to, d + 1, to_rank);
    if (to_before <= 0 || to_after <= 0 || before % to_before != 0 || after % to_after != 0) {
      continue;
    }
    // The sizes in front, behind and in all agree, so dimension d has tiles * slots * repeats.
    return FollowedAxis{d, before / to_before, after / to_after};
  }
  return std::nullopt;
}

absl::Status ChannelTracer::Reshape(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis == nullptr) return Block(id, "its channels are not tracked");
  const Shape& from = input(id, 0).shape;
  const Shape& to = graph_.tensor(node(id).outputs[0]).shape;
  const std::optional<FollowedAxis> followed = FollowReshape(from, axis->dim, to);
  if (!followed.has_value()) {
    return Block(id, absl::StrCat("reshapes ", ShapeToString(from), " to ", ShapeToString(to),
                                  ", which splits dimension ", axis->dim));
  }
  const int64_t slots = axis->size() * followed->tiles * followed->repeats;
  AMC_RETURN_IF_ERROR(Count(node(id).outputs[0], slots));
  Atoms atoms;
  atoms.reserve(static_cast<size_t>(slots));
  for (int64_t tile = 0; tile < followed->tiles; ++tile) {
    for (const int32_t atom : axis->atoms) atoms.insert(atoms.end(), followed->repeats, atom);
  }
  return SetOutput(id, followed->dim, std::move(atoms));
}

absl::Status ChannelTracer::Transpose(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis == nullptr) return Block(id, "its channels are not tracked");
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> permutation, GetPermutation(graph_, node(id)));
  const auto at = std::find(permutation.begin(), permutation.end(), axis->dim);
  return SetOutput(id, static_cast<int>(at - permutation.begin()), axis->atoms);
}

absl::Status ChannelTracer::ReduceMean(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis == nullptr) return Block(id, "its channels are not tracked");
  AMC_ASSIGN_OR_RETURN(const ReduceParams reduce, GetReduceParams(graph_, node(id)));
  int dim = axis->dim;
  for (const int64_t reduced : reduce.axes) {
    if (reduced == axis->dim) return Block(id, "averages over the channels");
    if (reduced < axis->dim && !reduce.keep_dims) --dim;
  }
  return SetOutput(id, dim, axis->atoms);
}

absl::Status ChannelTracer::Concat(NodeId id) {
  AMC_ASSIGN_OR_RETURN(const int64_t concat_axis, GetAxis(graph_, node(id)));
  const auto joined = static_cast<int>(concat_axis);
  const std::vector<TensorId>& inputs = node(id).inputs;
  const auto channels_join = [&](TensorId t) { return AxisOf(t) && AxisOf(t)->dim == joined; };
  constexpr absl::string_view kReason = "joins tensors with channels along different dimensions";
  Atoms atoms;
  if (std::any_of(inputs.begin(), inputs.end(), channels_join)) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const FlowAxis* axis = AxisOf(inputs[i]);
      Atoms part;
      if (channels_join(inputs[i])) {
        part = axis->atoms;
      } else if (input(id, i).is_constant) {
        AMC_ASSIGN_OR_RETURN(part, Fresh(inputs[i], input(id, i).shape[joined]));
        UseConstant(id, i, joined, AxisRole::kPerChannel, part);
      } else {
        if (axis != nullptr) Freeze(id, kReason, axis->atoms);
        const int64_t size = std::max<int64_t>(0, input(id, i).shape[joined]);
        AMC_ASSIGN_OR_RETURN(part, FreshFrozen(id, kReason, inputs[i], size));
      }
      atoms.insert(atoms.end(), part.begin(), part.end());
    }
    return SetOutput(id, joined, std::move(atoms));
  }
  const auto lead =
      std::find_if(inputs.begin(), inputs.end(), [&](TensorId t) { return AxisOf(t) != nullptr; });
  if (lead == inputs.end()) return Block(id, "its channels are not tracked");
  const int dim = AxisOf(*lead)->dim;
  atoms = AxisOf(*lead)->atoms;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const FlowAxis* axis = AxisOf(inputs[i]);
    if (input(id, i).is_constant) {
      UseConstant(id, i, dim, AxisRole::kPerChannel, atoms);
    } else if (axis != nullptr && axis->dim == dim && axis->atoms.size() == atoms.size()) {
      Unite(atoms, axis->atoms);
    } else {
      Freeze(id, kReason, atoms);
      if (axis != nullptr) Freeze(id, kReason, axis->atoms);
    }
  }
  return SetOutput(id, dim, std::move(atoms));
}

absl::Status ChannelTracer::Slice(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis == nullptr) return Block(id, "its channels are not tracked");
  AMC_ASSIGN_OR_RETURN(const SliceParams slice, GetSliceParams(graph_, node(id)));
  Atoms atoms = axis->atoms;
  for (const SliceParams::Range& range : slice.ranges) {
    if (range.axis != axis->dim) continue;
    if (range.step != 1) return Block(id, absl::StrCat("takes channels in steps of ", range.step));
    const auto size = static_cast<int64_t>(atoms.size());
    const int64_t end = std::clamp<int64_t>(range.end, 0, size);
    const int64_t start = std::clamp<int64_t>(range.start, 0, end);
    atoms = Atoms(atoms.begin() + start, atoms.begin() + end);
  }
  return SetOutput(id, axis->dim, std::move(atoms));
}

absl::Status ChannelTracer::Split(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis == nullptr) return Block(id, "its channels are not tracked");
  AMC_ASSIGN_OR_RETURN(const int64_t split_axis, GetAxis(graph_, node(id)));
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, GetSplitSizes(graph_, node(id)));
  const Atoms atoms = axis->atoms;
  const int dim = axis->dim;
  int64_t start = 0;
  for (size_t i = 0; i < node(id).outputs.size() && i < sizes.size(); ++i) {
    const auto size = static_cast<int64_t>(atoms.size());
    const int64_t end = std::clamp<int64_t>(start + sizes[i], start, std::max(start, size));
    Atoms part = split_axis != dim ? atoms
                                   : Atoms(atoms.begin() + std::min(start, size),
                                           atoms.begin() + std::min(end, size));
    start = end;
    if (node(id).outputs[i] == TensorId::kNone) continue;
    AMC_RETURN_IF_ERROR(SetAxis(id, node(id).outputs[i], dim, std::move(part)));
  }
  return absl::OkStatus();
}

// A channel pad makes atoms of its own; a negative amount drops slots.
absl::Status ChannelTracer::Pad(NodeId id) {
  const FlowAxis* axis = AxisOf(node(id).inputs[0]);
  if (axis == nullptr) return Block(id, "its channels are not tracked");
  AMC_ASSIGN_OR_RETURN(const PadParams pad, GetPadParams(graph_, node(id)));
  const int dim = axis->dim;
  const int64_t begin = pad.begin[dim];
  const int64_t end = pad.end[dim];
  if (pad.mode != "constant" && (begin > 0 || end > 0)) {
    return Block(id, absl::StrCat("pads the channels in mode ", pad.mode));
  }
  const auto size = static_cast<int64_t>(axis->atoms.size());
  const int64_t padded = graph_.tensor(node(id).outputs[0]).shape[dim];
  if (begin > padded || end > padded) {  // before as many atoms are made
    return absl::InvalidArgumentError(absl::StrCat(NodeLabel(graph_, node(id)), ": pads ", size,
                                                   " channels by ", begin, " and ", end, " to ",
                                                   padded));
  }
  const int64_t stop = std::clamp<int64_t>(size + std::min<int64_t>(0, end), 0, size);
  const int64_t start = std::clamp<int64_t>(-begin, 0, stop);
  const TensorId output = node(id).outputs[0];
  AMC_ASSIGN_OR_RETURN(Atoms atoms, Fresh(output, std::max<int64_t>(0, begin)));
  atoms.insert(atoms.end(), axis->atoms.begin() + start, axis->atoms.begin() + stop);
  AMC_ASSIGN_OR_RETURN(const Atoms behind, Fresh(output, std::max<int64_t>(0, end)));
  atoms.insert(atoms.end(), behind.begin(), behind.end());
  return SetOutput(id, dim, std::move(atoms));
}

}  // namespace amc
