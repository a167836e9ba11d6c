#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/exec/pack_builder.h"
#include "server/cli/engine.h"
#include "server/cli/exit_status.h"
#include "server/engine/commands.h"

namespace amc {
namespace {

void Truncate(ImageSet& images, int64_t limit) {
  if (limit <= 0 || images.size() <= limit) return;
  images.labels.resize(static_cast<size_t>(limit));
  images.pixels.resize(static_cast<size_t>(limit * images.channels * images.height * images.width));
}

}  // namespace

absl::Status PrepareMachine(int threads, const std::string& device) {
  TuneProcess(threads > 0 ? threads : AvailableCores());
  AMC_ASSIGN_OR_RETURN(const Device parsed, ParseDevice(device));
  return CheckDevice(parsed);
}

absl::StatusOr<ExecOptions> PrepareExec(const ExecFlags& flags) {
  AMC_RETURN_IF_ERROR(PrepareMachine(flags.threads, flags.device));
  ExecOptions options;
  AMC_ASSIGN_OR_RETURN(options.device, ParseDevice(flags.device));
  options.precision = flags.bf16 ? Precision::kBfloat16 : Precision::kFloat32;
  options.batch_size = flags.batch;
  return options;
}

absl::StatusOr<TrainTest> LoadSource(const SourceFlags& source, uint64_t seed) {
  ImageFolderOptions options;
  options.size = source.size;
  options.grayscale = source.grayscale;
  options.max_images = source.limit;
  options.seed = seed;
  const auto load = [&]() -> absl::StatusOr<TrainTest> {
    if (!source.idx.empty()) return LoadDataSource(DataFormat::kIdx, source.idx, options);
    if (!source.cifar.empty()) return LoadDataSource(DataFormat::kCifar, source.cifar, options);
    return LoadDataSource(DataFormat::kFolder, source.images, options);
  };
  AMC_ASSIGN_OR_RETURN(TrainTest loaded, load());
  Truncate(loaded.train, source.limit);
  Truncate(loaded.test, source.limit);
  return loaded;
}

absl::StatusOr<Preprocessing> PreprocessingOf(const SourceFlags& source, const ImageSet& train) {
  if (source.mean.empty() && source.deviation.empty()) return MeasurePreprocessing(train);
  const auto channels = static_cast<size_t>(train.channels);
  if (source.mean.size() != channels || source.deviation.size() != channels) {
    return UsageError(absl::StrCat("--mean has ", source.mean.size(), " values and --std ",
                                   source.deviation.size(), ", but the images have ", channels,
                                   channels == 1 ? " channel" : " channels"));
  }
  for (const float deviation : source.deviation) {
    if (!(deviation > 0)) return UsageError(absl::StrCat("--std ", deviation, ": must be above 0"));
  }
  return Preprocessing{source.mean, source.deviation};
}

std::function<void(int64_t, int64_t)> ShowProgress(ProgressLine& line, std::string what) {
  const auto meter = std::make_shared<EtaMeter>();
  return [&line, meter, what = std::move(what)](int64_t done, int64_t total) {
    line.Show(absl::StrCat(what, " ", done, "/", total, "  ", meter->Eta(done, total)));
  };
}

}  // namespace amc
