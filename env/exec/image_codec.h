// PNG and JPEG bytes to pixels, and pixels to other sizes.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

struct Image {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rgb;  // height x width x 3
};

// Decodes PNG (any depth; alpha is dropped) or JPEG, told apart by their first bytes. Grey images
// come back with three equal channels. InvalidArgument says what the library found wrong; data that
// ends early or is damaged is an error even where the library would carry on.
absl::StatusOr<Image> DecodeImage(absl::string_view bytes);

// Scales so that the shorter side has `size` pixels, then cuts `size` x `size` out of the middle:
// the usual preprocessing of ImageNet classifiers. Bilinear with a triangle as wide as the scale
// when shrinking (no aliasing), as PIL does it.
Image ResizeAndCrop(const Image& image, int64_t size);

// ITU-R BT.601 luma, height x width.
std::vector<uint8_t> ToGray(const Image& image);

}  // namespace amc
