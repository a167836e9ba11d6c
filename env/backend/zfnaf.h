// Cnvlutin's zero-free neuron array format of activations (Albericio et al., ISCA 2016, section
// IV-B).
//
// Activations lie in bricks: 16 neighbours in depth at one position. A brick stores its values that
// are not zero first, each with its offset in the brick, and zeros up to 16 values, so that bricks
// keep their place and can be found: it saves no memory but takes a quarter more. In the file:
//
//   0   4  "ZFN1"
//   4   2  version, 1
//   6   1  fraction bits of the values
//   7   4  channels
//   11  4  height
//   15  4  width
//   19     bricks, by y, then x, then depth (the last of a position has its missing channels as
//          zeros), 40 bytes each: 16 x i16 values; 16 x 4-bit offsets, the first in a byte's low
//          half; value and offset of a slot without activation are 0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

inline constexpr int64_t kBrick = 16;

// One image in fixed point.
struct FixedActivations {
  int64_t channels = 0, height = 0, width = 0;
  int fraction_bits = 0;
  std::vector<int16_t> values = {};  // channels x height x width
  friend bool operator==(const FixedActivations&, const FixedActivations&) = default;
};

std::string EncodeZfnaf(const FixedActivations& activations);

// InvalidArgument names the byte or brick that is wrong.
absl::StatusOr<FixedActivations> DecodeZfnaf(absl::string_view file);

}  // namespace amc
