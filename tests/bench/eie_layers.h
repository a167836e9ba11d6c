// The nine layers on which EIE is measured (Han et al., ISCA 2016, Tables III and IV), and draws of
// them: the networks' weights are not published, so that zeros fall independently of one another.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "base/rng.h"
#include "env/backend/eie_cycles.h"

namespace amc::testing {

struct EieLayer {
  const char* name;
  int64_t columns, rows;
  double weights, activations;       // densities; the paper rounds those of weights to 0.01
  double theoretical_us, actual_us;  // with 64 processing elements at 800 MHz
};

inline constexpr EieLayer kEieLayers[] = {
    {"Alex-6", 9216, 4096, 0.09, 0.351, 28.1, 30.3},
    {"Alex-7", 4096, 4096, 0.09, 0.353, 11.7, 12.2},
    {"Alex-8", 4096, 1000, 0.25, 0.375, 8.9, 9.9},
    {"VGG-6", 25088, 4096, 0.04, 0.183, 28.1, 34.4},
    {"VGG-7", 4096, 4096, 0.04, 0.375, 7.9, 8.7},
    {"VGG-8", 4096, 1000, 0.23, 0.411, 7.3, 8.4},
    {"NT-We", 4096, 600, 0.10, 1.0, 5.2, 8.0},
    {"NT-Wd", 600, 8791, 0.11, 1.0, 13.0, 13.9},
    {"NT-LSTM", 1201, 2400, 0.10, 1.0, 6.5, 7.5},
};

struct EieDraw {
  EieCounts counts;                // of the columns that are broadcast; zero elsewhere
  std::vector<int64_t> broadcast;  // columns whose activation is not zero
};

// Each weight is kept with probability `weights`, each activation with the layer's.
inline EieDraw DrawEieLayer(const EieLayer& layer, double weights, uint64_t seed) {
  Rng rng(seed);
  EieDraw draw;
  draw.counts.elements = kEieElements;
  draw.counts.columns = layer.columns;
  draw.counts.counts.resize(static_cast<size_t>(kEieElements * layer.columns));
  const double log_zero = std::log1p(-weights);
  for (int64_t c = 0; c < layer.columns; ++c) {
    if (rng.Uniform() >= layer.activations) continue;
    draw.broadcast.push_back(c);
    for (int64_t element = 0; element < kEieElements; ++element) {
      const int64_t rows = (layer.rows - element + kEieElements - 1) / kEieElements;
      uint16_t& count = draw.counts.counts[element * layer.columns + c];
      for (int64_t row = 0;; ++row) {
        // Zeros before the next weight: geometric.
        const auto zeros = static_cast<int64_t>(std::log1p(-rng.Uniform()) / log_zero);
        row += zeros;
        if (row >= rows) break;
        count = static_cast<uint16_t>(count + zeros / 16 + 1);
      }
    }
  }
  return draw;
}

}  // namespace amc::testing
