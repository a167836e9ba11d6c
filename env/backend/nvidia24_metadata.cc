#include "env/backend/nvidia24_metadata.h"

namespace amc {

std::optional<uint8_t> NibbleOf(uint32_t mask) {
  constexpr uint8_t kNone = 0;
  constexpr std::array<uint8_t, 16> kNibbles = {0xE, 0xC, 0xD, 0x4,   0xE, 0x8,   0x9,   kNone,
                                                0xE, 0xC, 0xD, kNone, 0xE, kNone, kNone, kNone};
  const uint8_t nibble = kNibbles[mask];
  if (nibble == kNone) return std::nullopt;
  return nibble;
}

std::optional<std::array<int64_t, 2>> KeptBy(uint8_t nibble) {
  const int64_t first = nibble & 3, second = nibble >> 2;
  if (first >= second || second > 3) return std::nullopt;
  return std::array<int64_t, 2>{first, second};
}

std::vector<uint32_t> PackNibbles(absl::Span<const uint8_t> nibbles, int64_t rows, int word_bits) {
  const int64_t groups = static_cast<int64_t>(nibbles.size()) / rows;
  const int64_t words = WordsPerRow(groups, word_bits), room = words * word_bits / 4;
  std::vector<uint32_t> packed(static_cast<size_t>(rows * words));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t g = 0; g < room; ++g) {
      const uint32_t nibble = g < groups ? nibbles[row * groups + g] : kEmptyNibble;
      packed[row * words + g * 4 / word_bits] |= nibble << g * 4 % word_bits;
    }
  }
  return packed;
}

std::vector<uint32_t> ReorderForCutlass(absl::Span<const uint32_t> words, int64_t rows,
                                        int word_bits) {
  const int64_t columns = static_cast<int64_t>(words.size()) / rows;
  const int64_t group = word_bits == 16 ? 32 : 16, weave = group / 8;
  std::vector<uint32_t> reordered(words.size());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      int64_t r = row / group * group + row % 8 * weave + row % group / 8;
      int64_t c = column;
      if (r % 2 == 0 && c % 2 == 1) {
        ++r, --c;
      } else if (r % 2 == 1 && c % 2 == 0) {
        --r, ++c;
      }
      reordered[c / 2 * rows * 2 + r * 2 + c % 2] = words[row * columns + column];
    }
  }
  return reordered;
}

}  // namespace amc
