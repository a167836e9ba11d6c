// Makes a data pack's contents from loaded images: three disjoint splits by seeded shuffles.
//
// Reconstruction images come from the training images; reward and report images from the test
// images, which no weight was fitted to. A source without test images gives all three.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"

namespace amc {

struct PackOptions {
  int64_t reconstruction_images = -1;  // -1: 5,000, or all (half of them, without test images)
  int64_t reward_images = -1;          // -1: half of what is there
  int64_t report_images = -1;          // -1: the rest
  uint64_t seed = 0;
  // Not given: mean and deviation of each channel over the training images.
  std::optional<Preprocessing> preprocessing;
  std::string source;
};

// `test` may be empty. The same inputs give the same pack. InvalidArgument when more images are
// asked for than there are (both numbers), or a split would be empty.
absl::StatusOr<PackContents> BuildPack(const ImageSet& train, const ImageSet& test,
                                       const PackOptions& options);

// Mean and deviation of each channel's pixels / 255. A constant channel gets deviation 1.
Preprocessing MeasurePreprocessing(const ImageSet& images);

}  // namespace amc
