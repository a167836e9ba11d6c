#include "env/train/augmentation.h"

namespace amc {

BatchMaker::BatchMaker(const ImageSet& images, const Preprocessing& preprocessing,
                       const Augmentation& augmentation)
    : images_(images), augmentation_(augmentation), values_(static_cast<size_t>(images.channels)) {
  for (size_t c = 0; c < values_.size(); ++c) {
    for (size_t pixel = 0; pixel < 256; ++pixel) {
      values_[c][pixel] = static_cast<float>(
          (static_cast<double>(pixel) / 255 - preprocessing.mean[c]) / preprocessing.deviation[c]);
    }
  }
}

void BatchMaker::MakeImage(int64_t index, int64_t dy, int64_t dx, bool mirror, float* out) const {
  const int64_t height = images_.height;
  const int64_t width = images_.width;
  const uint8_t* plane = images_.pixels.data() + index * images_.channels * height * width;
  for (const std::array<float, 256>& values : values_) {
    for (int64_t y = 0; y < height; ++y) {
      const int64_t source_y = y + dy;
      const bool row_inside = source_y >= 0 && source_y < height;
      for (int64_t x = 0; x < width; ++x) {
        const int64_t source_x = (mirror ? width - 1 - x : x) + dx;
        const bool inside = row_inside && source_x >= 0 && source_x < width;
        *out++ = values[inside ? plane[source_y * width + source_x] : 0];
      }
    }
    plane += height * width;
  }
}

void BatchMaker::Make(absl::Span<const int64_t> indices, Rng& rng,
                      std::vector<float>& batch) const {
  const int64_t image_size = images_.channels * images_.height * images_.width;
  batch.resize(indices.size() * static_cast<size_t>(image_size));
  const auto range = static_cast<uint64_t>(2 * augmentation_.crop_padding + 1);
  float* out = batch.data();
  for (const int64_t index : indices) {
    const int64_t dy = static_cast<int64_t>(rng.Below(range)) - augmentation_.crop_padding;
    const int64_t dx = static_cast<int64_t>(rng.Below(range)) - augmentation_.crop_padding;
    const bool mirror = rng.Below(2) == 1 && augmentation_.flip;
    MakeImage(index, dy, dx, mirror, out);
    out += image_size;
  }
}

}  // namespace amc
