// eval and infer: a network on images.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "amc/v1/inspect.pb.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/status_macros.h"
#include "env/cost/cost_model.h"
#include "env/exec/evaluate.h"
#include "env/exec/network.h"
#include "env/graph/onnx_import.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/engine/commands.h"
#include "server/submission.h"

namespace amc {
namespace {

absl::StatusOr<Split> ParseSplit(const std::string& name) {
  for (const Split split : {Split::kReconstruction, Split::kReward, Split::kReport}) {
    if (name == std::string(SplitName(split))) return split;
  }
  return absl::InvalidArgumentError(absl::StrCat("no split is called ", name));
}

// Whether images of `shape` (N first) are what the network's only input takes.
absl::Status CheckInput(const Graph& graph, const std::vector<int64_t>& shape) {
  if (graph.inputs.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the network has ", graph.inputs.size(), " inputs, want 1"));
  }
  const Tensor& input = graph.tensor(graph.inputs[0]);
  const bool fits = input.shape.size() == shape.size() && !shape.empty() && shape[0] > 0 &&
                    std::equal(shape.begin() + 1, shape.end(), input.shape.begin() + 1);
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("images of shape ", ShapeToString(shape),
                                                 ", but input ", input.name, " is ",
                                                 ShapeToString(input.shape)));
}

// What the network at `path` answers to the same images.
absl::StatusOr<std::vector<float>> LogitsOf(const std::string& path, const DataPack& pack,
                                            Split split, EvaluateOptions options) {
  AMC_ASSIGN_OR_RETURN(const Graph graph, LoadOnnx(path));
  std::vector<float> logits;
  options.logits = &logits;
  AMC_RETURN_IF_ERROR(Annotate(Evaluate(graph, pack, split, options).status(), path));
  return logits;
}

// A note on stderr where a job would refuse the network as a baseline.
void WarnNearChance(const Quality& quality, const DataPack& pack, Split split) {
  std::vector<int64_t> counts(pack.class_names().size(), 0);
  for (const int32_t label : pack.labels(split).first(static_cast<size_t>(quality.images))) {
    ++counts[static_cast<size_t>(label)];
  }
  const double images = static_cast<double>(std::max<int64_t>(quality.images, 1));
  const double commonest =
      static_cast<double>(*std::max_element(counts.begin(), counts.end())) / images;
  const double chance = std::max(commonest, 1.0 / static_cast<double>(counts.size()));
  if (quality.top1 > WeakBaselineBound(chance, quality.images)) return;
  std::fputs(absl::StrCat(
                 "note: near chance: always answering the commonest class gets ", Percent(chance),
                 ". Most likely the network's preprocessing is not the data ",
                 "pack's (pixels / 255, minus mean ", absl::StrJoin(pack.preprocessing().mean, " "),
                 ", over deviation ", absl::StrJoin(pack.preprocessing().deviation, " "),
                 "), or its classes have another order.\n")
                 .c_str(),
             stderr);
}

}  // namespace

absl::Status RunEval(const EvalArgs& args) {
  if (!args.policies.empty()) return RunEvalPolicies(args);
  AMC_ASSIGN_OR_RETURN(EvaluateOptions options, [&]() -> absl::StatusOr<EvaluateOptions> {
    EvaluateOptions prepared;
    AMC_ASSIGN_OR_RETURN(prepared.exec, PrepareExec(args.exec));
    prepared.max_images = args.images;
    return prepared;
  }());
  AMC_ASSIGN_OR_RETURN(const Split split, ParseSplit(args.split));
  AMC_ASSIGN_OR_RETURN(const Graph graph, LoadOnnx(args.model));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<DataPack> pack, DataPack::Open(args.data));
  NoteSurplus(args.images, 0, *pack, split);
  ProgressLine line;
  options.progress = ShowProgress(line, "images");
  std::vector<float> reference;
  if (!args.reference.empty()) {
    AMC_ASSIGN_OR_RETURN(reference, LogitsOf(args.reference, *pack, split, options));
  }
  options.reference_logits = reference;
  const absl::Time start = absl::Now();
  const absl::StatusOr<Quality> quality = Evaluate(graph, *pack, split, options);
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  line.Finish();
  AMC_RETURN_IF_ERROR(Annotate(quality.status(), args.model));
  AMC_ASSIGN_OR_RETURN(const Cost cost, CountCost(graph));

  v1::EvalInfo info;
  info.set_model(args.model);
  info.set_data(args.data);
  info.set_split(args.split);
  v1::Measurement& measured = *info.mutable_measurement();
  measured.set_top1(quality->top1);
  measured.set_top5(quality->top5);
  measured.set_loss(quality->loss);
  measured.set_kl(quality->kl);
  measured.set_images(quality->images);
  measured.mutable_cost()->set_macs(cost.macs);
  measured.mutable_cost()->set_params(cost.params);
  info.set_seconds(seconds);
  info.set_images_per_second(static_cast<double>(quality->images) / seconds);
  WarnNearChance(*quality, *pack, split);
  if (args.json) {
    PrintJson(info);
  } else {
    const std::string kl = args.reference.empty() ? "" : absl::StrFormat(", KL %.4f", quality->kl);
    std::puts(absl::StrFormat("%s: top-1 %s, top-5 %s, loss %.4f%s on %d %s images (%s MACs, %.0f "
                              "images a second)",
                              args.model, Percent(quality->top1, 2), Percent(quality->top5, 2),
                              quality->loss, kl, quality->images, args.split, HumanCount(cost.macs),
                              info.images_per_second())
                  .c_str());
  }
  return absl::OkStatus();
}

absl::Status RunInfer(const InferArgs& args) {
  AMC_ASSIGN_OR_RETURN(const ExecOptions exec, PrepareExec(args.exec));
  AMC_ASSIGN_OR_RETURN(const Graph graph, LoadOnnx(args.model));
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(args.input));
  const absl::StatusOr<NpyArray> input = ParseNpy(bytes);
  AMC_RETURN_IF_ERROR(Annotate(input.status(), args.input));
  AMC_RETURN_IF_ERROR(Annotate(CheckInput(graph, input->shape), args.input));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network, Network::Create(graph, exec));
  const int64_t images = input->shape[0];
  NpyArray output;
  AMC_ASSIGN_OR_RETURN(output.values, network->Run(input->values, images));
  output.shape = {images, static_cast<int64_t>(output.values.size()) / images};
  return WriteFileAtomically(args.output, SerializeNpy(output));
}

}  // namespace amc
