// What nodes say, in the words of every opset, and what makes no sense.
#include "env/graph/op_params.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/env/graph/graph_builder.h"

namespace amc {
namespace {

using ::amc::testing::Attributes;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Ints = std::vector<int64_t>;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

// One node that reads an input of shape 2 x 6 x 7 x 8 (batch dynamic) and constants, nothing
// inferred.
struct OneNode {
  OneNode(int64_t opset, const std::string& op_type, std::vector<Tensor> constants,
          Attributes attributes, int outputs = 1, Shape shape = {kDynamic, 6, 7, 8}) {
    graph.opsets[""] = opset;
    Node made{.name = "n", .op_type = op_type, .attributes = std::move(attributes)};
    made.inputs.push_back(
        graph.AddTensor({.name = "x", .shape_known = true, .shape = std::move(shape)}));
    for (Tensor& constant : constants) {
      made.inputs.push_back(constant.name.empty() ? TensorId::kNone
                                                  : graph.AddTensor(std::move(constant)));
    }
    for (int i = 0; i < outputs; ++i) made.outputs.push_back(graph.AddTensor({.name = "y"}));
    graph.AddNode(std::move(made));
  }
  const Node& node() const { return graph.nodes[0]; }
  Graph graph;
};

Tensor IntVector(const Ints& values) {
  return MakeInts("ints", {static_cast<int64_t>(values.size())}, values);
}
Tensor Scalar(float value) { return MakeFloats("scalar", {}, {value}); }
const Tensor kOmitted = {};

template <typename T>
std::string Problem(const absl::StatusOr<T>& result,
                    absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(" n: "));
  return std::string(result.status().message());
}

TEST(ConvParamsTest, DefaultsAreFilledIn) {
  const OneNode n(13, "Conv", {MakeWeightless("w", {12, 6, 3, 5})}, {});
  const ConvParams conv = GetConvParams(n.graph, n.node()).value();
  EXPECT_EQ(conv.kernel, (Pair{3, 5}));
  EXPECT_EQ(conv.stride, (Pair{1, 1}));
  EXPECT_EQ(conv.dilation, (Pair{1, 1}));
  EXPECT_EQ(conv.pad_begin, (Pair{0, 0}));
  EXPECT_EQ(conv.groups, 1);
  EXPECT_EQ(conv.in_channels, 6);
  EXPECT_EQ(conv.out_channels, 12);
}

TEST(ConvParamsTest, PadsAreHeightThenWidthBeginThenEnd) {
  const OneNode n(13, "Conv", {MakeWeightless("w", {12, 2, 3, 3})},
                  {{"pads", Ints{1, 2, 3, 4}},
                   {"strides", Ints{2, 3}},
                   {"dilations", Ints{1, 2}},
                   {"group", int64_t{3}}});
  const ConvParams conv = GetConvParams(n.graph, n.node()).value();
  EXPECT_EQ(conv.pad_begin, (Pair{1, 2}));
  EXPECT_EQ(conv.pad_end, (Pair{3, 4}));
  EXPECT_EQ(conv.stride, (Pair{2, 3}));
  EXPECT_EQ(conv.dilation, (Pair{1, 2}));
  EXPECT_EQ(conv.in_channels, 6);
}

// 7 x 8 in strides of 2 gives 4 x 4: windows of 3 need 9 and 9 positions, so 2 and 1 are padded.
TEST(ConvParamsTest, SamePaddingPutsTheOddOneLastOrFirst) {
  const auto pads = [](const std::string& auto_pad) {
    const OneNode n(13, "Conv", {MakeWeightless("w", {1, 6, 3, 3})},
                    {{"auto_pad", auto_pad}, {"strides", Ints{2, 2}}});
    const ConvParams conv = GetConvParams(n.graph, n.node()).value();
    return std::make_pair(conv.pad_begin, conv.pad_end);
  };
  EXPECT_EQ(pads("SAME_UPPER"), std::make_pair(Pair{1, 0}, Pair{1, 1}));
  EXPECT_EQ(pads("SAME_LOWER"), std::make_pair(Pair{1, 1}, Pair{1, 0}));
  EXPECT_EQ(pads("VALID"), std::make_pair(Pair{0, 0}, Pair{0, 0}));
}

TEST(ConvParamsTest, NonsenseIsNamed) {
  const auto problem = [](Shape weight, Attributes attributes) {
    const OneNode n(13, "Conv", {MakeWeightless("w", std::move(weight))}, std::move(attributes));
    return Problem(GetConvParams(n.graph, n.node()));
  };
  EXPECT_THAT(problem({4, 5, 3, 3}, {}), AllOf(HasSubstr("4x5x3x3"), HasSubstr("Nx6x7x8")));
  EXPECT_THAT(problem({4, 2, 3, 3}, {{"group", int64_t{3}}}), HasSubstr("3 groups"));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"group", int64_t{0}}}), HasSubstr("group is 0"));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"group", kMax}}), HasSubstr("group is"));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"strides", Ints{0, 1}}}), HasSubstr("strides holds 0"));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"dilations", Ints{1, kMax}}}), HasSubstr("dilations"));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"pads", Ints{0, -1, 0, 0}}}), HasSubstr("pads [0, -1"));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"pads", Ints{0, 1}}}), HasSubstr("pads [0, 1]"));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"kernel_shape", Ints{5, 5}}}),
              AllOf(HasSubstr("5x5"), HasSubstr("4x6x3x3")));
  EXPECT_THAT(problem({4, 6, 3}, {}), HasSubstr("4x6x3"));
  EXPECT_THAT(problem({0, 6, 3, 3}, {}), HasSubstr("0x6x3x3"));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"auto_pad", std::string("SAME")}}), HasSubstr("\"SAME\""));
  EXPECT_THAT(problem({4, 6, 3, 3}, {{"group", 1.0F}}), HasSubstr("group has an unexpected type"));
}

TEST(ConvParamsTest, OneSpatialAxisIsUnimplemented) {
  const OneNode n(13, "Conv", {MakeWeightless("w", {4, 6, 3})}, {}, 1, {kDynamic, 6, 100});
  EXPECT_THAT(Problem(GetConvParams(n.graph, n.node()), absl::StatusCode::kUnimplemented),
              HasSubstr("Nx6x100"));
}

TEST(PoolParamsTest, ReadsWindows) {
  const OneNode n(13, "AveragePool", {},
                  {{"kernel_shape", Ints{3, 2}},
                   {"strides", Ints{2, 2}},
                   {"ceil_mode", int64_t{1}},
                   {"count_include_pad", int64_t{1}}});
  const PoolParams pool = GetPoolParams(n.graph, n.node()).value();
  EXPECT_EQ(pool.kernel, (Pair{3, 2}));
  EXPECT_TRUE(pool.ceil_mode);
  EXPECT_TRUE(pool.count_include_pad);
  const OneNode missing(13, "MaxPool", {}, {});
  EXPECT_THAT(Problem(GetPoolParams(missing.graph, missing.node())), HasSubstr("kernel_shape"));
}

TEST(ClipParamsTest, BoundsAreAttributesThenInputs) {
  const OneNode old(9, "Clip", {}, {{"min", 0.0F}, {"max", 6.0F}});
  EXPECT_EQ(GetClipParams(old.graph, old.node())->max, 6);
  const OneNode now(13, "Clip", {Scalar(0), Scalar(6)}, {});
  EXPECT_EQ(GetClipParams(now.graph, now.node())->max, 6);
  const OneNode upper(13, "Clip", {kOmitted, Scalar(6)}, {});
  EXPECT_EQ(GetClipParams(upper.graph, upper.node())->min, -std::numeric_limits<float>::infinity());
  const OneNode two(13, "Clip", {MakeFloats("b", {2}, {0, 1})}, {});
  EXPECT_THAT(Problem(GetClipParams(two.graph, two.node())), HasSubstr("2 values"));
}

TEST(PadParamsTest, AmountsAreAttributesThenInputsThenByAxis) {
  const Ints amounts = {0, 1, 2, 3, 0, 4, 5, -6};
  const auto check = [&](const OneNode& n) {
    const absl::StatusOr<PadParams> pad = GetPadParams(n.graph, n.node());
    ASSERT_TRUE(pad.ok()) << pad.status();
    EXPECT_THAT(pad->begin, ElementsAre(0, 1, 2, 3));
    EXPECT_THAT(pad->end, ElementsAre(0, 4, 5, -6));
    EXPECT_EQ(pad->value, 7);
    EXPECT_EQ(pad->mode, "constant");
  };
  check({9, "Pad", {}, {{"pads", amounts}, {"value", 7.0F}}});
  check({13, "Pad", {IntVector(amounts), Scalar(7)}, {}});
  check({18, "Pad", {IntVector({1, 3, 2, 4, -6, 5}), Scalar(7), IntVector({1, -1, 2})}, {}});
}

TEST(PadParamsTest, NonsenseIsNamed) {
  const OneNode few(13, "Pad", {IntVector({1, 2})}, {});
  EXPECT_THAT(Problem(GetPadParams(few.graph, few.node())), HasSubstr("2 pads"));
  const OneNode mode(13, "Pad", {IntVector(Ints(8, 0))}, {{"mode", std::string("mirror")}});
  EXPECT_THAT(Problem(GetPadParams(mode.graph, mode.node())), HasSubstr("\"mirror\""));
  const OneNode huge(13, "Pad", {IntVector({0, 0, 0, 0, 0, 0, 0, kMax})}, {});
  EXPECT_THAT(Problem(GetPadParams(huge.graph, huge.node())), HasSubstr("pads by"));
  const OneNode axis(18, "Pad", {IntVector({1, 1}), kOmitted, IntVector({4})}, {});
  EXPECT_THAT(Problem(GetPadParams(axis.graph, axis.node())), HasSubstr("axis 4"));
}

std::vector<int64_t> Flat(const absl::StatusOr<SliceParams>& slice) {
  EXPECT_TRUE(slice.ok()) << slice.status();
  std::vector<int64_t> flat;
  if (!slice.ok()) return flat;
  for (const auto& range : slice->ranges) {
    flat.insert(flat.end(), {range.axis, range.start, range.end, range.step});
  }
  return flat;
}

TEST(SliceParamsTest, RangesAreAttributesThenInputs) {
  const OneNode old(9, "Slice", {},
                    {{"starts", Ints{1, 0}}, {"ends", Ints{-1, 3}}, {"axes", Ints{2, 3}}});
  EXPECT_THAT(Flat(GetSliceParams(old.graph, old.node())), ElementsAre(2, 1, 6, 1, 3, 0, 3, 1));
  const OneNode now(
      13, "Slice",
      {IntVector({0, 0}), IntVector({kMax, kMax}), IntVector({-2, -1}), IntVector({2, 3})}, {});
  EXPECT_THAT(Flat(GetSliceParams(now.graph, now.node())), ElementsAre(2, 0, 7, 2, 3, 0, 8, 3));
}

// As numpy: x[..., 6:0:-2] and x[..., ::-1].
TEST(SliceParamsTest, NegativeStepsGoBackwards) {
  const auto range = [](int64_t start, int64_t end, int64_t step) {
    const OneNode n(13, "Slice",
                    {IntVector({start}), IntVector({end}), IntVector({3}), IntVector({step})}, {});
    return Flat(GetSliceParams(n.graph, n.node()));
  };
  EXPECT_THAT(range(6, 0, -2), ElementsAre(3, 6, 0, -2));
  EXPECT_THAT(range(-1, kMin, -1), ElementsAre(3, 7, -1, -1));
  EXPECT_THAT(range(kMax, kMin, -1), ElementsAre(3, 7, -1, -1));
  EXPECT_THAT(range(2, 5, -1), ElementsAre(3, 2, 2, -1));  // empty
  EXPECT_THAT(range(5, 2, 1), ElementsAre(3, 5, 5, 1));    // empty
}

TEST(SliceParamsTest, BatchMayOnlyBeTakenWhole) {
  const OneNode whole(13, "Slice", {IntVector({0}), IntVector({kMax}), IntVector({0})}, {});
  EXPECT_TRUE(GetSliceParams(whole.graph, whole.node())->ranges.empty());
  const OneNode first(13, "Slice", {IntVector({0}), IntVector({1}), IntVector({0})}, {});
  EXPECT_THAT(Problem(GetSliceParams(first.graph, first.node()), absl::StatusCode::kUnimplemented),
              HasSubstr("batch"));
}

TEST(SliceParamsTest, NonsenseIsNamed) {
  const auto problem = [](std::vector<Tensor> constants) {
    const OneNode n(13, "Slice", std::move(constants), {});
    return Problem(GetSliceParams(n.graph, n.node()));
  };
  EXPECT_THAT(problem({}), HasSubstr("starts are missing"));
  EXPECT_THAT(problem({IntVector({0})}), HasSubstr("input 2 is missing"));
  EXPECT_THAT(problem({IntVector({0}), IntVector({1, 2}), IntVector({1})}), HasSubstr("2 ends"));
  EXPECT_THAT(problem({IntVector({0}), IntVector({1}), IntVector({9})}), HasSubstr("axis 9"));
  EXPECT_THAT(problem({IntVector({0}), IntVector({1}), IntVector({1}), IntVector({0})}),
              HasSubstr("step 0"));
  EXPECT_THAT(problem({IntVector({0, 0}), IntVector({1, 1}), IntVector({1, -3})}),
              HasSubstr("listed twice"));
  EXPECT_THAT(problem({Scalar(0), IntVector({1})}), HasSubstr("float32"));
}

TEST(ReduceParamsTest, AxesAreAttributesThenInputs) {
  const OneNode old(13, "ReduceMean", {}, {{"axes", Ints{-1, 2}}, {"keepdims", int64_t{0}}});
  EXPECT_THAT(GetReduceParams(old.graph, old.node())->axes, ElementsAre(2, 3));
  EXPECT_FALSE(GetReduceParams(old.graph, old.node())->keep_dims);
  const OneNode now(18, "ReduceMean", {IntVector({2, 3})}, {});
  EXPECT_THAT(GetReduceParams(now.graph, now.node())->axes, ElementsAre(2, 3));
  EXPECT_TRUE(GetReduceParams(now.graph, now.node())->keep_dims);
  const OneNode all(13, "ReduceMean", {}, {});
  EXPECT_THAT(GetReduceParams(all.graph, all.node())->axes, ElementsAre(0, 1, 2, 3));
  const OneNode none(18, "ReduceMean", {}, {{"noop_with_empty_axes", int64_t{1}}});
  EXPECT_TRUE(GetReduceParams(none.graph, none.node())->axes.empty());
  const OneNode twice(13, "ReduceMean", {}, {{"axes", Ints{3, -1}}});
  EXPECT_THAT(Problem(GetReduceParams(twice.graph, twice.node())), HasSubstr("listed twice"));
}

TEST(SqueezeAxesTest, AxesAreAttributesThenInputs) {
  const Shape shape = {kDynamic, 6, 1, 1};
  const OneNode old(11, "Squeeze", {}, {{"axes", Ints{3}}}, 1, shape);
  EXPECT_THAT(GetSqueezeAxes(old.graph, old.node()).value(), ElementsAre(3));
  const OneNode now(13, "Squeeze", {IntVector({-1, 2})}, {}, 1, shape);
  EXPECT_THAT(GetSqueezeAxes(now.graph, now.node()).value(), ElementsAre(2, 3));
  const OneNode all(13, "Squeeze", {}, {}, 1, shape);
  EXPECT_THAT(GetSqueezeAxes(all.graph, all.node()).value(), ElementsAre(2, 3));
  // Axes of Unsqueeze count in the output.
  const OneNode more(13, "Unsqueeze", {IntVector({-1, 0})}, {});
  EXPECT_THAT(GetSqueezeAxes(more.graph, more.node()).value(), ElementsAre(0, 5));
  const OneNode without(13, "Unsqueeze", {}, {});
  EXPECT_THAT(Problem(GetSqueezeAxes(without.graph, without.node())), HasSubstr("missing"));
}

TEST(AxisTest, DefaultsDependOnOperatorAndOpset) {
  const auto axis = [](int64_t opset, const std::string& op_type, Attributes attributes) {
    const OneNode n(opset, op_type, {}, std::move(attributes));
    return GetAxis(n.graph, n.node()).value();
  };
  EXPECT_EQ(axis(13, "Flatten", {}), 1);
  EXPECT_EQ(axis(13, "Flatten", {{"axis", int64_t{4}}}), 4);
  EXPECT_EQ(axis(11, "Softmax", {}), 1);
  EXPECT_EQ(axis(13, "Softmax", {}), 3);
  EXPECT_EQ(axis(13, "Concat", {{"axis", int64_t{-3}}}), 1);
  const OneNode outside(13, "Concat", {}, {{"axis", int64_t{4}}});
  EXPECT_THAT(Problem(GetAxis(outside.graph, outside.node())), HasSubstr("axis 4"));
}

TEST(PermutationTest, ReversesByDefault) {
  const OneNode n(13, "Transpose", {}, {});
  EXPECT_THAT(GetPermutation(n.graph, n.node()).value(), ElementsAre(3, 2, 1, 0));
  const OneNode twice(13, "Transpose", {}, {{"perm", Ints{0, 1, 1, 3}}});
  EXPECT_THAT(Problem(GetPermutation(twice.graph, twice.node())), HasSubstr("[0, 1, 1, 3]"));
}

TEST(SplitSizesTest, SizesAreAttributesThenInputsOrEven) {
  const OneNode old(11, "Split", {}, {{"axis", int64_t{1}}, {"split", Ints{2, 4}}}, 2);
  EXPECT_THAT(GetSplitSizes(old.graph, old.node()).value(), ElementsAre(2, 4));
  const OneNode now(13, "Split", {IntVector({5, 1})}, {{"axis", int64_t{1}}}, 2);
  EXPECT_THAT(GetSplitSizes(now.graph, now.node()).value(), ElementsAre(5, 1));
  const OneNode even(13, "Split", {}, {{"axis", int64_t{1}}}, 3);
  EXPECT_THAT(GetSplitSizes(even.graph, even.node()).value(), ElementsAre(2, 2, 2));
  const OneNode uneven(18, "Split", {}, {{"axis", int64_t{2}}, {"num_outputs", int64_t{2}}}, 2);
  EXPECT_THAT(GetSplitSizes(uneven.graph, uneven.node()).value(), ElementsAre(4, 3));
}

TEST(SplitSizesTest, NonsenseIsNamed) {
  const OneNode uneven(13, "Split", {}, {{"axis", int64_t{2}}}, 2);
  EXPECT_THAT(Problem(GetSplitSizes(uneven.graph, uneven.node())), HasSubstr("2 equal parts"));
  const OneNode wrong(13, "Split", {IntVector({5, 2})}, {{"axis", int64_t{1}}}, 2);
  EXPECT_THAT(Problem(GetSplitSizes(wrong.graph, wrong.node())), HasSubstr("[5, 2]"));
  const OneNode batch(13, "Split", {}, {{"axis", int64_t{0}}}, 2);
  EXPECT_THAT(Problem(GetSplitSizes(batch.graph, batch.node()), absl::StatusCode::kUnimplemented),
              HasSubstr("batch"));
}

TEST(BatchNormTest, EpsilonHasItsDefaultAndMustBePositive) {
  const OneNode n(13, "BatchNormalization", {}, {});
  EXPECT_EQ(GetBatchNormEpsilon(n.graph, n.node()).value(), 1e-5F);
  const OneNode bad(13, "BatchNormalization", {}, {{"epsilon", -1.0F}});
  EXPECT_THAT(Problem(GetBatchNormEpsilon(bad.graph, bad.node())), HasSubstr("epsilon is -1"));
  const OneNode nan(13, "BatchNormalization", {}, {{"epsilon", std::nanf("")}});
  EXPECT_THAT(Problem(GetBatchNormEpsilon(nan.graph, nan.node())), HasSubstr("epsilon"));
}

}  // namespace
}  // namespace amc
