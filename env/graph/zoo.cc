#include "env/graph/zoo.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/graph/shape_inference.h"

namespace amc {
namespace {

// Adds layers one after the other; sizes are tracked here so that weights get their shapes.
class Builder {
 public:
  Builder(absl::string_view name, const ZooOptions& options)
      : options_(options), rng_(options.seed) {
    graph_.name = std::string(name);
    graph_.ir_version = 8;
    graph_.opsets[""] = 13;
    graph_.producer_name = "amc";
    graph_.batch_symbol = "N";
    Tensor input;
    input.name = "input";
    input.shape_known = true;
    input.shape = {kDynamic, options.in_channels, options.height, options.width};
    at_ = {graph_.AddTensor(std::move(input)), options.in_channels, options.height, options.width};
    graph_.inputs = {at_.tensor};
  }

  // Where the next layer reads: a tensor and its channels, height, width.
  struct Position {
    TensorId tensor = TensorId::kNone;
    int64_t c = 0, h = 0, w = 0;
  };
  const Position& at() const { return at_; }
  void set_at(const Position& position) { at_ = position; }

  void Conv(const std::string& name, int64_t out, int64_t kernel, int64_t stride, int64_t pad,
            int64_t groups = 1) {
    const int64_t in = at_.c / groups;
    std::vector<TensorId> inputs = {
        at_.tensor, Weight(absl::StrCat(name, ".weight"), {out, in, kernel, kernel},
                           std::sqrt(2.0 / static_cast<double>(in * kernel * kernel)))};
    if (!options_.batch_norm) inputs.push_back(Constant(absl::StrCat(name, ".bias"), {out}, 0));
    Add("Conv", name, std::move(inputs),
        {{"dilations", Ints{1, 1}},
         {"group", groups},
         {"kernel_shape", Ints{kernel, kernel}},
         {"pads", Ints{pad, pad, pad, pad}},
         {"strides", Ints{stride, stride}}});
    at_.c = out;
    at_.h = (at_.h + 2 * pad - kernel) / stride + 1;
    at_.w = (at_.w + 2 * pad - kernel) / stride + 1;
  }

  void BatchNorm(const std::string& name) {
    if (!options_.batch_norm) return;
    Add("BatchNormalization", name,
        {at_.tensor, Constant(absl::StrCat(name, ".weight"), {at_.c}, 1),
         Constant(absl::StrCat(name, ".bias"), {at_.c}, 0),
         Constant(absl::StrCat(name, ".running_mean"), {at_.c}, 0),
         Constant(absl::StrCat(name, ".running_var"), {at_.c}, 1)},
        {{"epsilon", 1e-5f}});
  }

  void ConvNormRelu(const std::string& conv, const std::string& norm, int64_t out, int64_t kernel,
                    int64_t stride, int64_t pad, int64_t groups = 1) {
    Conv(conv, out, kernel, stride, pad, groups);
    BatchNorm(norm);
    Relu(absl::StrCat(conv, ".relu"));
  }

  void Relu(const std::string& name) { Add("Relu", name, {at_.tensor}, {}); }

  void Relu6(const std::string& name) {
    Add("Clip", name, {at_.tensor, Scalar("clip.min", 0), Scalar("clip.max", 6)}, {});
  }

  void MaxPool(const std::string& name, int64_t kernel, int64_t stride) {
    Add("MaxPool", name, {at_.tensor},
        {{"kernel_shape", Ints{kernel, kernel}}, {"strides", Ints{stride, stride}}});
    at_.h = (at_.h - kernel) / stride + 1;
    at_.w = (at_.w - kernel) / stride + 1;
  }

  void AddTensors(const std::string& name, TensorId other) {
    Add("Add", name, {at_.tensor, other}, {});
  }

  // He et al. 2016, section 4.2, option A: every other pixel, the new channels zero.
  void ZeroPadShortcut(const std::string& name, int64_t out) {
    Add("Slice", absl::StrCat(name, ".slice"),
        {at_.tensor, IntVector("shortcut.starts", {0, 0}),
         IntVector("shortcut.ends", {int64_t{1} << 40, int64_t{1} << 40}),
         IntVector("shortcut.axes", {2, 3}), IntVector("shortcut.steps", {2, 2})},
        {});
    const int64_t extra = out - at_.c;
    Add("Pad", absl::StrCat(name, ".pad"),
        {at_.tensor,
         IntVector(absl::StrCat(name, ".pads"), {0, extra / 2, 0, 0, 0, extra - extra / 2, 0, 0})},
        {{"mode", std::string("constant")}});
    at_ = {at_.tensor, out, (at_.h + 1) / 2, (at_.w + 1) / 2};
  }

  void GlobalAveragePool() {
    Add("GlobalAveragePool", "avgpool", {at_.tensor}, {});
    at_.h = at_.w = 1;
  }

  void Flatten() {
    Add("Flatten", "flatten", {at_.tensor}, {{"axis", int64_t{1}}});
    at_ = {at_.tensor, at_.c * at_.h * at_.w, 1, 1};
  }

  void Linear(const std::string& name, int64_t out) {
    const double deviation = std::sqrt(1.0 / static_cast<double>(at_.c));
    Add("Gemm", name,
        {at_.tensor, Weight(absl::StrCat(name, ".weight"), {out, at_.c}, deviation),
         Constant(absl::StrCat(name, ".bias"), {out}, 0)},
        {{"alpha", 1.0f}, {"beta", 1.0f}, {"transB", int64_t{1}}});
    at_.c = out;
  }

  absl::StatusOr<Graph> Finish() {
    graph_.tensor(at_.tensor).name = "logits";
    graph_.outputs = {at_.tensor};
    AMC_RETURN_IF_ERROR(Annotate(InferShapes(graph_), graph_.name));
    return std::move(graph_);
  }

 private:
  using Ints = std::vector<int64_t>;

  void Add(const std::string& op_type, const std::string& name, std::vector<TensorId> inputs,
           std::map<std::string, Attribute> attributes) {
    Tensor output;
    output.name = absl::StrCat(name, ".out");
    at_.tensor = graph_.AddTensor(std::move(output));
    Node node;
    node.name = name;
    node.op_type = op_type;
    node.inputs = std::move(inputs);
    node.outputs = {at_.tensor};
    node.attributes = std::move(attributes);
    graph_.AddNode(std::move(node));
  }

  TensorId Weight(std::string name, Shape shape, double deviation) {
    if (options_.weightless) {
      return graph_.AddTensor(MakeWeightless(std::move(name), std::move(shape)));
    }
    std::vector<float> values(static_cast<size_t>(*NumElements(shape)));
    for (float& value : values) value = static_cast<float>(deviation * rng_.Normal());
    return graph_.AddTensor(MakeFloats(std::move(name), std::move(shape), values));
  }

  TensorId Constant(std::string name, Shape shape, float value) {
    if (options_.weightless) {
      return graph_.AddTensor(MakeWeightless(std::move(name), std::move(shape)));
    }
    const std::vector<float> values(static_cast<size_t>(*NumElements(shape)), value);
    return graph_.AddTensor(MakeFloats(std::move(name), std::move(shape), values));
  }

  TensorId Scalar(const std::string& name, float value) {
    const TensorId known = graph_.FindTensor(name);
    return known != TensorId::kNone ? known : graph_.AddTensor(MakeFloats(name, {}, {value}));
  }

  TensorId IntVector(const std::string& name, const Ints& values) {
    const TensorId known = graph_.FindTensor(name);
    if (known != TensorId::kNone) return known;
    return graph_.AddTensor(MakeInts(name, {static_cast<int64_t>(values.size())}, values));
  }

  const ZooOptions& options_;
  Rng rng_;
  Graph graph_;
  Position at_;
};

// CIFAR ResNet of depth 6n + 2; without shortcuts it is the "plain" network of the same paper.
absl::StatusOr<Graph> BuildCifarResNet(absl::string_view name, int64_t n, bool shortcuts,
                                       const ZooOptions& options) {
  Builder b(name, options);
  b.ConvNormRelu("conv1", "bn1", 16, 3, 1, 1);
  for (int64_t stage = 0; stage < 3; ++stage) {
    const int64_t channels = 16 << stage;
    for (int64_t block = 0; block < n; ++block) {
      const std::string label = absl::StrCat("layer", stage + 1, ".", block);
      const int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      const Builder::Position start = b.at();
      b.ConvNormRelu(absl::StrCat(label, ".conv1"), absl::StrCat(label, ".bn1"), channels, 3,
                     stride, 1);
      b.Conv(absl::StrCat(label, ".conv2"), channels, 3, 1, 1);
      b.BatchNorm(absl::StrCat(label, ".bn2"));
      if (shortcuts) {
        const Builder::Position end = b.at();
        b.set_at(start);
        if (stride != 1) b.ZeroPadShortcut(absl::StrCat(label, ".shortcut"), channels);
        const TensorId shortcut = b.at().tensor;
        b.set_at(end);
        b.AddTensors(absl::StrCat(label, ".add"), shortcut);
      }
      b.Relu(absl::StrCat(label, ".relu"));
    }
  }
  b.GlobalAveragePool();
  b.Flatten();
  b.Linear("fc", options.classes);
  return b.Finish();
}

// Simonyan and Zisserman 2015, configuration D. Inputs of 224 get the original classifier, small
// ones (CIFAR) a single linear layer, as is usual there.
absl::StatusOr<Graph> BuildVgg16(absl::string_view name, const ZooOptions& options) {
  Builder b(name, options);
  int index = 0;
  for (const int64_t channels :
       {64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0}) {
    const std::string label = absl::StrCat("features.", index++);
    if (channels == 0) {
      b.MaxPool(label, 2, 2);
    } else {
      b.ConvNormRelu(label, absl::StrCat(label, ".bn"), channels, 3, 1, 1);
    }
  }
  b.Flatten();
  if (std::min(options.height, options.width) >= 64) {
    for (const char* const layer : {"classifier.0", "classifier.1"}) {
      b.Linear(layer, 4096);
      b.Relu(absl::StrCat(layer, ".relu"));
    }
    b.Linear("classifier.2", options.classes);
  } else {
    b.Linear("classifier", options.classes);
  }
  return b.Finish();
}

absl::StatusOr<Graph> BuildVggSmall(absl::string_view name, const ZooOptions& options) {
  Builder b(name, options);
  for (int stage = 0; stage < 3; ++stage) {
    for (int layer = 0; layer < 2; ++layer) {
      const std::string label = absl::StrCat("stage", stage + 1, ".conv", layer + 1);
      b.ConvNormRelu(label, absl::StrCat(label, ".bn"), 32 << stage, 3, 1, 1);
    }
    b.MaxPool(absl::StrCat("stage", stage + 1, ".pool"), 2, 2);
  }
  b.Flatten();
  b.Linear("fc1", 256);
  b.Relu("fc1.relu");
  b.Linear("fc2", options.classes);
  return b.Finish();
}

// Few convolutions and three linear layers that hold nearly all weights, as AlexNet's do.
absl::StatusOr<Graph> BuildVggFc(absl::string_view name, const ZooOptions& options) {
  Builder b(name, options);
  for (int stage = 0; stage < 3; ++stage) {
    const std::string label = absl::StrCat("conv", stage + 1);
    b.ConvNormRelu(label, absl::StrCat(label, ".bn"), 16 << stage, 3, 1, 1);
    b.MaxPool(absl::StrCat("pool", stage + 1), 2, 2);
  }
  b.Flatten();
  b.Linear("fc1", 1024);
  b.Relu("fc1.relu");
  b.Linear("fc2", 512);
  b.Relu("fc2.relu");
  b.Linear("fc3", options.classes);
  return b.Finish();
}

// Howard et al. 2017, width 1. Inputs below 64 pixels keep the stem's resolution, as is usual on
// CIFAR.
absl::StatusOr<Graph> BuildMobileNetV1(absl::string_view name, const ZooOptions& options) {
  Builder b(name, options);
  b.ConvNormRelu("conv1", "bn1", 32, 3, std::min(options.height, options.width) < 64 ? 1 : 2, 1);
  struct Block {
    int64_t out, stride;
  };
  int index = 0;
  for (const Block& block : {Block{64, 1},
                             {128, 2},
                             {128, 1},
                             {256, 2},
                             {256, 1},
                             {512, 2},
                             {512, 1},
                             {512, 1},
                             {512, 1},
                             {512, 1},
                             {512, 1},
                             {1024, 2},
                             {1024, 1}}) {
    const std::string label = absl::StrCat("block", ++index);
    b.ConvNormRelu(absl::StrCat(label, ".dw"), absl::StrCat(label, ".dw.bn"), b.at().c, 3,
                   block.stride, 1, b.at().c);
    b.ConvNormRelu(absl::StrCat(label, ".pw"), absl::StrCat(label, ".pw.bn"), block.out, 1, 1, 0);
  }
  b.GlobalAveragePool();
  b.Flatten();
  b.Linear("fc", options.classes);
  return b.Finish();
}

// Sandler et al. 2018, table 2, width 1. Inputs below 64 pixels keep the resolution of the stem and
// of the second stage, as is usual on CIFAR.
absl::StatusOr<Graph> BuildMobileNetV2(absl::string_view name, const ZooOptions& options) {
  const bool small = std::min(options.height, options.width) < 64;
  Builder b(name, options);
  const auto conv = [&](const std::string& label, int64_t out, int64_t kernel, int64_t stride,
                        int64_t groups, bool activation) {
    b.Conv(label, out, kernel, stride, kernel / 2, groups);
    b.BatchNorm(absl::StrCat(label, ".bn"));
    if (activation) b.Relu6(absl::StrCat(label, ".relu6"));
  };
  conv("conv1", 32, 3, small ? 1 : 2, 1, true);
  struct Stage {
    int64_t expansion, out, repeats, stride;
  };
  int index = 0;
  for (const Stage& stage : {Stage{1, 16, 1, 1},
                             {6, 24, 2, small ? 1 : 2},
                             {6, 32, 3, 2},
                             {6, 64, 4, 2},
                             {6, 96, 3, 1},
                             {6, 160, 3, 2},
                             {6, 320, 1, 1}}) {
    for (int64_t repeat = 0; repeat < stage.repeats; ++repeat) {
      const std::string label = absl::StrCat("block", ++index);
      const Builder::Position start = b.at();
      const int64_t hidden = start.c * stage.expansion;
      const int64_t stride = repeat == 0 ? stage.stride : 1;
      if (stage.expansion != 1) conv(absl::StrCat(label, ".expand"), hidden, 1, 1, 1, true);
      conv(absl::StrCat(label, ".dw"), hidden, 3, stride, hidden, true);
      conv(absl::StrCat(label, ".project"), stage.out, 1, 1, 1, false);
      if (stride == 1 && start.c == stage.out) {
        b.AddTensors(absl::StrCat(label, ".add"), start.tensor);
      }
    }
  }
  conv("conv2", 1280, 1, 1, 1, true);
  b.GlobalAveragePool();
  b.Flatten();
  b.Linear("fc", options.classes);
  return b.Finish();
}

struct ZooEntry {
  absl::string_view name;
  int64_t smallest_input;
  std::function<absl::StatusOr<Graph>(absl::string_view, const ZooOptions&)> build;
};

const std::vector<ZooEntry>& Zoo() {
  const auto resnet = [](int64_t n, bool shortcuts) {
    return [n, shortcuts](absl::string_view name, const ZooOptions& options) {
      return BuildCifarResNet(name, n, shortcuts, options);
    };
  };
  static const auto* const zoo = new std::vector<ZooEntry>{
      {"resnet20", 4, resnet(3, true)},      {"resnet56", 4, resnet(9, true)},
      {"plain20", 4, resnet(3, false)},      {"vgg16", 32, BuildVgg16},
      {"vgg-small", 8, BuildVggSmall},       {"vgg-fc", 8, BuildVggFc},
      {"mobilenetv1", 16, BuildMobileNetV1}, {"mobilenetv2", 16, BuildMobileNetV2},
  };
  return *zoo;
}

// The upper bounds keep a slip of the hand from allocating gigabytes of weights.
absl::Status CheckOption(absl::string_view network, absl::string_view option, int64_t value,
                         int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("network ", network, ": ", option, " is ", value,
                                                 ", expected ", least, " to ", most));
}

}  // namespace

std::vector<std::string> ZooNames() {
  std::vector<std::string> names;
  for (const ZooEntry& entry : Zoo()) names.emplace_back(entry.name);
  return names;
}

absl::StatusOr<Graph> BuildNetwork(absl::string_view name, const ZooOptions& options) {
  for (const ZooEntry& entry : Zoo()) {
    if (entry.name != name) continue;
    AMC_RETURN_IF_ERROR(CheckOption(name, "height", options.height, entry.smallest_input, 512));
    AMC_RETURN_IF_ERROR(CheckOption(name, "width", options.width, entry.smallest_input, 512));
    AMC_RETURN_IF_ERROR(CheckOption(name, "in_channels", options.in_channels, 1, 1024));
    AMC_RETURN_IF_ERROR(CheckOption(name, "classes", options.classes, 1, 1 << 16));
    return entry.build(name, options);
  }
  return absl::InvalidArgumentError(absl::StrCat("no network is called \"", name, "\"; there are ",
                                                 absl::StrJoin(ZooNames(), ", ")));
}

}  // namespace amc
