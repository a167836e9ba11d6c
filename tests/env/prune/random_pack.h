// A data set in memory: images of smooth random noise, labels drawn at random.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "env/exec/data_pack.h"

namespace amc::testing {

// Every split has `images` images; pixels of a channel vary slowly, as those of photographs do.
class RandomPack : public DataPack {
 public:
  RandomPack(int64_t images, int64_t channels, int64_t size, int64_t classes, uint64_t seed = 7)
      : images_(images), channels_(channels), size_(size) {
    Rng rng(seed);
    pixels_.resize(static_cast<size_t>(3 * images * channels * size * size));
    double value = 0;
    for (uint8_t& pixel : pixels_) {
      value = 0.8 * value + 30 * rng.Normal();
      pixel = static_cast<uint8_t>(std::min(255.0, std::max(0.0, 128 + value)));
    }
    for (int64_t i = 0; i < 3 * images; ++i) {
      labels_.push_back(static_cast<int32_t>(rng.Below(static_cast<uint64_t>(classes))));
    }
    for (int64_t c = 0; c < classes; ++c) names_.push_back("class" + std::to_string(c));
    preprocessing_.mean.assign(static_cast<size_t>(channels), 0.5f);
    preprocessing_.deviation.assign(static_cast<size_t>(channels), 0.25f);
  }

  int64_t channels() const override { return channels_; }
  int64_t height() const override { return size_; }
  int64_t width() const override { return size_; }
  int64_t size(Split) const override { return images_; }
  const std::vector<std::string>& class_names() const override { return names_; }
  const Preprocessing& preprocessing() const override { return preprocessing_; }
  absl::Span<const int32_t> labels(Split split) const override {
    return absl::MakeConstSpan(labels_).subspan(First(split), static_cast<size_t>(images_));
  }
  std::vector<float> Images(Split split, int64_t first, int64_t count) const override {
    std::vector<float> values;
    for (const uint8_t pixel : Pixels(split, first, count)) {
      values.push_back((static_cast<float>(pixel) / 255 - 0.5f) / 0.25f);
    }
    return values;
  }
  absl::Span<const uint8_t> Pixels(Split split, int64_t first, int64_t count) const override {
    const auto image = static_cast<size_t>(channels_ * size_ * size_);
    return absl::MakeConstSpan(pixels_).subspan((First(split) + first) * image, count * image);
  }

 private:
  size_t First(Split split) const {
    return static_cast<size_t>(split) * static_cast<size_t>(images_);
  }

  int64_t images_, channels_, size_;
  std::vector<uint8_t> pixels_;
  std::vector<int32_t> labels_;
  std::vector<std::string> names_;
  Preprocessing preprocessing_;
};

}  // namespace amc::testing
