#include <algorithm>
#include <cstdio>
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

ImageSet SplitImages(const DataPack& pack, Split split) {
  const absl::Span<const uint8_t> pixels = pack.Pixels(split, 0, pack.size(split));
  const absl::Span<const int32_t> labels = pack.labels(split);
  ImageSet images;
  images.channels = pack.channels();
  images.height = pack.height();
  images.width = pack.width();
  images.pixels.assign(pixels.begin(), pixels.end());
  images.labels.assign(labels.begin(), labels.end());
  images.class_names = pack.class_names();
  return images;
}

}  // namespace

void NoteSurplus(int64_t wanted, int64_t otherwise, const DataPack& pack, Split split) {
  const int64_t there = pack.size(split);
  if (wanted == otherwise || wanted <= there) return;
  std::fputs(
      absl::StrCat("note: ", wanted, " images asked for, the ", std::string(SplitName(split)),
                   " split has ", there, "; all of them are used\n")
          .c_str(),
      stderr);
}

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
  ProgressLine line;
  if (!source.pack.empty()) {
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<DataPack> pack, DataPack::Open(source.pack));
    TrainTest sets = {SplitImages(*pack, Split::kReconstruction),
                      SplitImages(*pack, Split::kReward)};
    Truncate(sets.train, source.limit);
    Truncate(sets.test, source.limit);
    return sets;
  }
  ImageFolderOptions options;
  options.progress = ShowProgress(line, "reading images");
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
  if (!source.pack.empty()) {
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<DataPack> pack, DataPack::Open(source.pack));
    return pack->preprocessing();
  }
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
