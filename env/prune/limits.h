// Where refitting stops being worth its memory.
#pragma once

#include <cstdint>

namespace amc {

// Layers with more features keep their sliced weights: a covariance of 6,000 features takes 288 MB
// and seconds to factorise. VGG's first linear layer on 224 x 224 images (25,088) is beyond it.
inline constexpr int64_t kMaxRefitFeatures = 6000;

}  // namespace amc
