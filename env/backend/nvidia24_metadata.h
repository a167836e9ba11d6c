// Which two of every four weights are kept, in the bits that NVIDIA's sparse tensor cores read.
//
// A group of 4 has a nibble: the first kept position | the second << 2, ascending. A group with
// fewer than two non-zeros keeps zeros as well, those that PyTorch keeps:
//
//   1100 4   1010 8   0110 9   1001 C   0101 D   0011 E      (first position left)
//   1000 C   0100 D   0010 E   0001 E   0000 E
//
// Nibbles of a row fill words from the lowest bits on: 4 in 16 bits, where weights have 16, 8 in 32
// bits, where they have 8. CUTLASS wants the words in another order (reorder_meta in its
// host_reorder.h, then ColumnMajorInterleaved<2>).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace amc {

// The nibble of a group, by a mask of its non-zeros (4 bits, 0 first); none if there are over two.
std::optional<uint8_t> NibbleOf(uint32_t mask);

// The positions that a nibble keeps; none if it is no nibble of the table.
std::optional<std::array<int64_t, 2>> KeptBy(uint8_t nibble);

// What fills words whose rows' groups do not: the nibble of an empty group.
inline constexpr uint8_t kEmptyNibble = 0xE;

// Words of `word_bits` (16 or 32) that a row of `groups` groups takes.
constexpr int64_t WordsPerRow(int64_t groups, int word_bits) {
  return (groups * 4 + word_bits - 1) / word_bits;
}

// rows x groups nibbles to rows x words, and one of them back.
std::vector<uint32_t> PackNibbles(absl::Span<const uint8_t> nibbles, int64_t rows, int word_bits);
inline uint8_t NibbleAt(absl::Span<const uint32_t> row_words, int64_t group, int word_bits) {
  const int64_t bit = group * 4;
  return row_words[bit / word_bits] >> bit % word_bits & 0xF;
}

// rows x words in CUTLASS's order. Rows are a multiple of 32 (words of 16 bits) or 16 (of 32), the
// words of a row are even in number.
std::vector<uint32_t> ReorderForCutlass(absl::Span<const uint32_t> words, int64_t rows,
                                        int word_bits);

}  // namespace amc
