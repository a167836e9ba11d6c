// Training batches from raw images: random crops of the zero-padded image and horizontal flips (He
// et al. 2016, section 4.2), then preprocessing.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "base/rng.h"
#include "env/exec/data_pack.h"

namespace amc {

struct Augmentation {
  int64_t crop_padding = 4;  // pixels of black on each side, from which a window is cut
  bool flip = true;          // mirror half of the images left to right
};

// Thread-compatible. Keeps references to its arguments' images.
class BatchMaker {
 public:
  BatchMaker(const ImageSet& images, const Preprocessing& preprocessing,
             const Augmentation& augmentation);

  // The images `indices`, N x C x H x W; crops and flips drawn from `rng`, three draws an image.
  void Make(absl::Span<const int64_t> indices, Rng& rng, std::vector<float>& batch) const;

 private:
  void MakeImage(int64_t index, int64_t dy, int64_t dx, bool mirror, float* out) const;

  const ImageSet& images_;
  const Augmentation augmentation_;
  std::vector<std::array<float, 256>> values_;  // per channel: pixel to preprocessed value
};

}  // namespace amc
