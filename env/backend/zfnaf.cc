#include "env/backend/zfnaf.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/backend/fixed_point.h"
#include "env/backend/packed_file.h"

namespace amc {
namespace {

constexpr absl::string_view kMagic = "ZFN1";
constexpr uint16_t kVersion = 1;
constexpr int64_t kBrickBytes = 2 * kBrick + kBrick / 2;

// Puts a brick's activations, `channels` of them, at their places: `values[channel * plane]`. The
// brick is there.
absl::Status ReadBrick(PackedReader& reader, int64_t channels, int64_t plane, int16_t* values) {
  const size_t at = reader.offset();
  const absl::string_view words = reader.Take(2 * kBrick);
  const absl::string_view offsets = reader.Take(kBrick / 2);
  int previous = -1;
  bool ended = false;
  for (int64_t slot = 0; slot < kBrick; ++slot) {
    const auto value = static_cast<int16_t>(WordAt(words, slot));
    const int offset = static_cast<uint8_t>(offsets[slot / 2]) >> (4 * (slot % 2)) & 15;
    if (value == 0) {
      ended = true;
      if (offset == 0) continue;
    }
    if (ended || offset <= previous || offset >= channels) {
      return absl::InvalidArgumentError(absl::StrCat("byte ", at, ": slot ", slot, " has value ",
                                                     value, " and offset ", offset, " after ",
                                                     previous, " of ", channels));
    }
    values[offset * plane] = value;
    previous = offset;
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeZfnaf(const FixedActivations& activations) {
  PackedWriter writer(kMagic, kVersion);
  writer.U8(static_cast<uint8_t>(activations.fraction_bits));
  writer.U32(static_cast<uint32_t>(activations.channels));
  writer.U32(static_cast<uint32_t>(activations.height));
  writer.U32(static_cast<uint32_t>(activations.width));
  const int64_t plane = activations.height * activations.width;
  for (int64_t position = 0; position < plane; ++position) {
    for (int64_t first = 0; first < activations.channels; first += kBrick) {
      std::array<int16_t, kBrick> values = {};
      std::array<uint8_t, kBrick> offsets = {};
      size_t slot = 0;
      for (int64_t i = 0; i < std::min(kBrick, activations.channels - first); ++i) {
        const int16_t value = activations.values[(first + i) * plane + position];
        if (value == 0) continue;
        values[slot] = value;
        offsets[slot++] = static_cast<uint8_t>(i);
      }
      for (const int16_t value : values) writer.I16(value);
      for (size_t i = 0; i < kBrick; i += 2) {
        writer.U8(static_cast<uint8_t>(offsets[i] | offsets[i + 1] << 4));
      }
    }
  }
  return std::move(writer).bytes();
}

absl::StatusOr<FixedActivations> DecodeZfnaf(absl::string_view file) {
  PackedReader reader(file, kMagic, kVersion);
  FixedActivations result;
  result.fraction_bits = reader.U8();
  result.channels = reader.U32();
  result.height = reader.U32();
  result.width = reader.U32();
  AMC_RETURN_IF_ERROR(reader.status());
  AMC_RETURN_IF_ERROR(CheckPackedSize(result.height, result.width));
  const int64_t plane = result.height * result.width;
  AMC_RETURN_IF_ERROR(CheckPackedSize(result.channels, plane));
  if (result.fraction_bits > kMaxFractionBits) {
    return absl::InvalidArgumentError(absl::StrCat(
        "byte 6: ", result.fraction_bits, " fraction bits, want at most ", kMaxFractionBits));
  }
  const int64_t bricks = plane * ((result.channels + kBrick - 1) / kBrick);
  if (reader.left() != static_cast<uint64_t>(bricks * kBrickBytes)) {
    return absl::InvalidArgumentError(absl::StrCat("byte ", reader.offset(), ": ", reader.left(),
                                                   " bytes are left, want ", bricks, " bricks of ",
                                                   kBrickBytes));
  }
  result.values.resize(static_cast<size_t>(result.channels * plane));
  for (int64_t position = 0; position < plane; ++position) {
    for (int64_t first = 0; first < result.channels; first += kBrick) {
      AMC_RETURN_IF_ERROR(ReadBrick(reader, std::min(kBrick, result.channels - first), plane,
                                    &result.values[first * plane + position]));
    }
  }
  return result;
}

}  // namespace amc
