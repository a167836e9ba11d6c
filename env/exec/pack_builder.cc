#include "env/exec/pack_builder.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kDefaultReconstruction = 5000;
constexpr uint64_t kTrainStream = 1, kTestStream = 2;

// Appends the images `order`[first, first + count) of `from` to `to`.
void Append(const ImageSet& from, const std::vector<int64_t>& order, int64_t first, int64_t count,
            ImageSet& to) {
  const int64_t bytes = from.channels * from.height * from.width;
  for (int64_t i = first; i < first + count; ++i) {
    const int64_t image = order[static_cast<size_t>(i)];
    const auto begin = from.pixels.begin() + image * bytes;
    to.pixels.insert(to.pixels.end(), begin, begin + bytes);
    to.labels.push_back(from.labels[static_cast<size_t>(image)]);
  }
}

absl::Status CheckCount(Split split, int64_t count, int64_t available) {
  if (count >= 1 && count <= available) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("split ", SplitName(split), ": ", count,
                                                 " images asked for, ", available,
                                                 " are there (at least 1 is needed)"));
}

}  // namespace

absl::StatusOr<PackContents> BuildPack(const ImageSet& train, const ImageSet& test,
                                       const PackOptions& options) {
  const bool shared = test.size() == 0;
  const int64_t for_reconstruction = shared ? train.size() / 2 : train.size();
  const int64_t reconstruction = options.reconstruction_images >= 0
                                     ? options.reconstruction_images
                                     : std::min(kDefaultReconstruction, for_reconstruction);
  AMC_RETURN_IF_ERROR(CheckCount(Split::kReconstruction, reconstruction, train.size()));
  const int64_t measured = shared ? train.size() - reconstruction : test.size();
  const int64_t reward = options.reward_images >= 0 ? options.reward_images : measured / 2;
  AMC_RETURN_IF_ERROR(CheckCount(Split::kReward, reward, measured));
  const int64_t report = options.report_images >= 0 ? options.report_images : measured - reward;
  AMC_RETURN_IF_ERROR(CheckCount(Split::kReport, report, measured - reward));

  PackContents contents;
  contents.images.channels = train.channels;
  contents.images.height = train.height;
  contents.images.width = train.width;
  contents.images.class_names = train.class_names;
  contents.split_sizes[static_cast<int>(Split::kReconstruction)] = reconstruction;
  contents.split_sizes[static_cast<int>(Split::kReward)] = reward;
  contents.split_sizes[static_cast<int>(Split::kReport)] = report;
  contents.preprocessing =
      options.preprocessing.has_value() ? *options.preprocessing : MeasurePreprocessing(train);
  contents.source = options.source;
  const std::vector<int64_t> train_order =
      Rng(options.seed, kTrainStream).Permutation(train.size());
  Append(train, train_order, 0, reconstruction, contents.images);
  if (shared) {
    Append(train, train_order, reconstruction, reward + report, contents.images);
  } else {
    const std::vector<int64_t> test_order = Rng(options.seed, kTestStream).Permutation(test.size());
    Append(test, test_order, 0, reward + report, contents.images);
  }
  return contents;
}

Preprocessing MeasurePreprocessing(const ImageSet& images) {
  Preprocessing result;
  const auto plane = static_cast<size_t>(images.height * images.width);
  const auto channels = static_cast<size_t>(images.channels);
  std::vector<uint64_t> sums(channels), squares(channels);
  for (size_t i = 0; i < images.pixels.size(); ++i) {
    const uint64_t pixel = images.pixels[i];
    const size_t c = i / plane % channels;
    sums[c] += pixel;
    squares[c] += pixel * pixel;
  }
  const double count = static_cast<double>(plane) * static_cast<double>(images.size());
  for (size_t c = 0; c < channels; ++c) {
    const double mean = static_cast<double>(sums[c]) / count;
    const double variance = static_cast<double>(squares[c]) / count - mean * mean;
    const double deviation = std::sqrt(std::max(variance, 0.0)) / 255;
    result.mean.push_back(static_cast<float>(mean / 255));
    result.deviation.push_back(deviation < 1e-6 ? 1.0F : static_cast<float>(deviation));
  }
  return result;
}

}  // namespace amc
