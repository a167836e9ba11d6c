// A data set as one immutable artifact: decoded images, labels, class names, preprocessing and the
// three disjoint splits (reconstruction, reward, report). Made by `amc data pack`, named by sha256.
//
// Layout (little endian; docs/formats.md):
//   "AMCPACK1", u32 header size, header (a text of "key: value" lines, see pack_header.h), padding
//   to 64 bytes, images u8 N x C x H x W, labels i32 N. The splits are consecutive runs of images.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace amc {

// x = (pixel / 255 - mean[c]) / deviation[c]; one value per channel.
struct Preprocessing {
  std::vector<float> mean, deviation;
};

enum class Split { kReconstruction = 0, kReward = 1, kReport = 2 };
absl::string_view SplitName(Split split);  // "reconstruction", "reward", "report"

// Images in memory, as a loader (IDX, CIFAR, folder) gives them.
struct ImageSet {
  int64_t channels = 0, height = 0, width = 0;
  std::vector<uint8_t> pixels;  // N x C x H x W
  std::vector<int32_t> labels;  // N, each in [0, class_names.size())
  std::vector<std::string> class_names;
  int64_t size() const { return static_cast<int64_t>(labels.size()); }
};

// Immutable, thread-safe. Reads its file through a memory map.
class DataPack {
 public:
  // InvalidArgument (with file and offset) unless every byte of the file is accounted for.
  static absl::StatusOr<std::unique_ptr<DataPack>> Open(const std::string& path);
  virtual ~DataPack() = default;

  virtual int64_t channels() const = 0;
  virtual int64_t height() const = 0;
  virtual int64_t width() const = 0;
  virtual int64_t size(Split split) const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  virtual const Preprocessing& preprocessing() const = 0;
  virtual absl::Span<const int32_t> labels(Split split) const = 0;
  // Images [first, first + count) of the split, preprocessed, count x C x H x W.
  virtual std::vector<float> Images(Split split, int64_t first, int64_t count) const = 0;
  // The same as raw bytes.
  virtual absl::Span<const uint8_t> Pixels(Split split, int64_t first, int64_t count) const = 0;
};

// The bytes of a pack. `splits` gives the images of each split in `images` order after a seeded
// shuffle made by the caller; see pack_builder.h.
struct PackContents {
  ImageSet images;  // reconstruction, then reward, then report
  int64_t split_sizes[3] = {0, 0, 0};
  Preprocessing preprocessing;
  std::string source;  // how it was made, for people
};
absl::StatusOr<std::string> SerializePack(const PackContents& contents);

}  // namespace amc
