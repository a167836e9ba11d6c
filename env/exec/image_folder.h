// Folders of images: DIR/CLASS/*.png, .jpg, .jpeg. The folders' names in alphabetical order are the
// classes, files within them are read in alphabetical order.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"

namespace amc {

struct ImageFolderOptions {
  // Edge of the square images that come out: resized by the shorter side and cropped in the middle.
  // 0: every image must have the size of the first.
  int64_t size = 0;
  bool grayscale = false;  // one channel instead of three
  int64_t max_images = 0;  // a random choice of that many files (0: all); the rest is not decoded
  uint64_t seed = 0;       // of that choice
  std::function<void(int64_t done, int64_t total)> progress = nullptr;  // files read; may be empty
};

// NotFound without the folder; InvalidArgument names the folder that holds no images, or the file
// that cannot be decoded or has another size than the first.
absl::StatusOr<ImageSet> LoadImageFolder(const std::string& path,
                                         const ImageFolderOptions& options);

}  // namespace amc
