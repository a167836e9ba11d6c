// train and finetune: a network of the zoo, or an ONNX file, on images.
#include <signal.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "amc/v1/inspect.pb.h"
#include "base/status_macros.h"
#include "env/graph/onnx_export.h"
#include "env/graph/onnx_import.h"
#include "env/graph/zoo.h"
#include "env/train/trainer.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/engine/commands.h"

namespace amc {
namespace {

absl::StatusOr<Graph> StartingPoint(const TrainArgs& args, const ImageSet& images) {
  if (args.arch.empty()) return LoadOnnx(args.model);
  ZooOptions options;
  options.in_channels = images.channels;
  options.height = images.height;
  options.width = images.width;
  options.classes = static_cast<int64_t>(images.class_names.size());
  options.seed = args.seed;
  return BuildNetwork(args.arch, options);
}

absl::StatusOr<TrainOptions> OptionsOf(const TrainArgs& args, const ImageSet& images) {
  TrainOptions options;
  options.epochs = args.epochs;
  options.batch_size = args.batch;
  options.learning_rate = args.learning_rate;
  options.warmup_epochs = args.warmup_epochs;
  options.momentum = args.momentum;
  options.weight_decay = args.weight_decay;
  options.label_smoothing = args.label_smoothing;
  options.augmentation.crop_padding =
      args.crop_padding >= 0 ? args.crop_padding : std::max(images.height, images.width) / 8;
  options.augmentation.flip = args.flip;
  options.seed = args.seed;
  AMC_ASSIGN_OR_RETURN(options.device, ParseDevice(args.device));
  return options;
}

volatile std::sig_atomic_t interrupted = 0;

// Asks training to stop at the first Ctrl-C; the second ends the process.
void StopOnSignals() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

// Where mean and deviation come from, for people.
std::string OriginOfPreprocessing(const SourceFlags& source) {
  if (!source.pack.empty()) return absl::StrCat("of ", source.pack);
  return source.mean.empty() ? "measured on the training images; --mean and --std set it"
                             : "as given";
}

TrainCallbacks ShowTraining(ProgressLine& line, int64_t epochs) {
  TrainCallbacks callbacks;
  callbacks.should_stop = [] { return interrupted != 0; };
  callbacks.on_progress = [&line](const TrainProgress& progress) {
    line.Show(absl::StrFormat("epoch %d/%d  step %d/%d  loss %.4f  accuracy %s  ETA %s",
                              progress.epoch, progress.epochs, progress.step, progress.steps,
                              progress.loss, Percent(progress.accuracy),
                              HumanDuration(progress.seconds_left)));
    return absl::OkStatus();
  };
  callbacks.on_epoch = [&line, epochs](int64_t epoch, const EpochSummary& summary) {
    std::string text = absl::StrFormat("epoch %d/%d  loss %.4f  accuracy %s", epoch, epochs,
                                       summary.loss, Percent(summary.accuracy));
    if (summary.test_accuracy >= 0) {
      absl::StrAppend(&text, "  test ", Percent(summary.test_accuracy, 2));
    }
    line.Say(absl::StrCat(text, "  ", HumanDuration(summary.seconds)));
    return absl::OkStatus();
  };
  return callbacks;
}

}  // namespace

absl::Status RunTrain(const TrainArgs& args) {
  AMC_RETURN_IF_ERROR(PrepareMachine(args.threads, args.device));
  AMC_ASSIGN_OR_RETURN(const TrainTest data, LoadSource(args.source, args.seed));
  AMC_ASSIGN_OR_RETURN(const Preprocessing preprocessing, PreprocessingOf(args.source, data.train));
  AMC_ASSIGN_OR_RETURN(const Graph start, StartingPoint(args, data.train));
  AMC_ASSIGN_OR_RETURN(const TrainOptions options, OptionsOf(args, data.train));
  std::fputs(absl::StrCat("preprocessing: mean ", absl::StrJoin(preprocessing.mean, " "),
                          ", deviation ", absl::StrJoin(preprocessing.deviation, " "), " (",
                          OriginOfPreprocessing(args.source), ")\n")
                 .c_str(),
             stderr);
  StopOnSignals();
  ProgressLine line;
  const absl::Time begin = absl::Now();
  absl::StatusOr<TrainResult> trained = Train(start, data.train, data.test, preprocessing, options,
                                              ShowTraining(line, options.epochs));
  line.Finish();
  if (absl::IsCancelled(trained.status())) {
    return InterruptedError(absl::StrCat("interrupted in epoch 1 of ", options.epochs,
                                         ", before there was a network to write"));
  }
  AMC_RETURN_IF_ERROR(trained.status());
  TrainResult result = *std::move(trained);
  const auto epochs = static_cast<int64_t>(result.epochs.size());
  const bool tested = result.test_accuracy >= 0;
  if (tested) {
    result.graph.metadata["test_accuracy"] = absl::StrFormat("%.4f", result.test_accuracy);
  }
  // What the network expects of its input: the next user has to state it again.
  result.graph.metadata["mean"] = absl::StrJoin(preprocessing.mean, " ");
  result.graph.metadata["deviation"] = absl::StrJoin(preprocessing.deviation, " ");
  AMC_RETURN_IF_ERROR(SaveOnnx(result.graph, args.output));
  if (epochs < options.epochs) {
    return InterruptedError(absl::StrCat("interrupted after epoch ", epochs, " of ", options.epochs,
                                         "; wrote it to ", args.output));
  }

  v1::TrainInfo info;
  info.set_output(args.output);
  info.set_epochs(options.epochs);
  if (tested) info.set_top1(result.test_accuracy);
  info.set_loss(result.epochs.empty() ? 0 : result.epochs.back().loss);
  info.set_seconds(absl::ToDoubleSeconds(absl::Now() - begin));
  if (args.json) {
    PrintJson(info);
  } else {
    std::puts(absl::StrFormat("%s: test accuracy %s after %d %s in %s", info.output(),
                              tested ? Percent(info.top1(), 2) : "unknown", info.epochs(),
                              info.epochs() == 1 ? "epoch" : "epochs",
                              HumanDuration(info.seconds()))
                  .c_str());
  }
  return absl::OkStatus();
}

absl::Status RunFinetune(const TrainArgs& args) { return RunTrain(args); }

}  // namespace amc
