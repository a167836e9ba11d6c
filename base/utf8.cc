#include "base/utf8.h"

#include <cstdint>

namespace amc {
namespace {

// Bytes of the character that `bytes`, not empty, begins with; 0 if it begins with none.
size_t CharacterSize(absl::string_view bytes) {
  const auto lead = static_cast<uint8_t>(bytes[0]);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (bytes.size() < size) return 0;
  // What the second byte may be keeps overlong forms, surrogates and what is too large out.
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < size; ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    if (byte < low || byte > high) return 0;
    low = 0x80;
    high = 0xBF;
  }
  return size;
}

}  // namespace

size_t Utf8Prefix(absl::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t size = CharacterSize(bytes.substr(at));
    if (size == 0) break;
    at += size;
  }
  return at;
}

std::string ToUtf8(absl::string_view bytes) {
  std::string text;
  while (true) {
    const size_t good = Utf8Prefix(bytes);
    text.append(bytes.data(), good);
    if (good == bytes.size()) return text;
    text.append("\xEF\xBF\xBD");
    bytes.remove_prefix(good + 1);
  }
}

}  // namespace amc
