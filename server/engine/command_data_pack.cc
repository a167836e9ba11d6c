// data pack: images as one immutable artifact.
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "amc/v1/inspect.pb.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "env/exec/pack_builder.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/engine/commands.h"

namespace amc {
namespace {

std::string SourceName(const SourceFlags& source) {
  if (!source.idx.empty()) return absl::StrCat("idx ", source.idx);
  if (!source.cifar.empty()) return absl::StrCat("cifar ", source.cifar);
  return absl::StrCat("images ", source.images);
}

}  // namespace

absl::Status RunDataPack(const DataPackArgs& args) {
  AMC_ASSIGN_OR_RETURN(const TrainTest data, LoadSource(args.source, args.seed));
  PackOptions options;
  options.reconstruction_images = args.reconstruction;
  options.reward_images = args.reward;
  options.report_images = args.report;
  options.seed = args.seed;
  options.source = SourceName(args.source);
  AMC_ASSIGN_OR_RETURN(options.preprocessing, PreprocessingOf(args.source, data.train));
  AMC_ASSIGN_OR_RETURN(const PackContents contents, BuildPack(data.train, data.test, options));
  AMC_ASSIGN_OR_RETURN(const std::string bytes, SerializePack(contents));
  AMC_RETURN_IF_ERROR(WriteFileAtomically(args.output, bytes));

  const auto count = [&](Split split) { return contents.split_sizes[static_cast<int>(split)]; };
  v1::PackInfo info;
  info.set_output(args.output);
  info.set_sha256(Sha256Hex(bytes));
  info.set_channels(contents.images.channels);
  info.set_height(contents.images.height);
  info.set_width(contents.images.width);
  info.set_classes(static_cast<int64_t>(contents.images.class_names.size()));
  info.set_reconstruction_images(count(Split::kReconstruction));
  info.set_reward_images(count(Split::kReward));
  info.set_report_images(count(Split::kReport));
  for (const float mean : contents.preprocessing.mean) info.add_mean(mean);
  for (const float deviation : contents.preprocessing.deviation) info.add_deviation(deviation);
  if (args.json) {
    PrintJson(info);
    return absl::OkStatus();
  }
  std::puts(absl::StrFormat("%s: %d x %d x %d, %d classes, %s; %d reconstruction, %d reward, %d "
                            "report images; mean %s, deviation %s",
                            info.output(), info.channels(), info.height(), info.width(),
                            info.classes(), HumanBytes(static_cast<int64_t>(bytes.size())),
                            info.reconstruction_images(), info.reward_images(),
                            info.report_images(), absl::StrJoin(info.mean(), " "),
                            absl::StrJoin(info.deviation(), " "))
                .c_str());
  return absl::OkStatus();
}

}  // namespace amc
