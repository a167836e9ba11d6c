#include "server/cli/format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace amc {
namespace {

// Four significant digits with a decimal prefix.
std::string Scaled(int64_t value, absl::string_view unit) {
  const double magnitude = std::fabs(static_cast<double>(value));
  if (magnitude < 1000) return absl::StrCat(value, unit.empty() ? "" : " ", unit);
  constexpr std::array<const char*, 6> kPrefixes = {"k", "M", "G", "T", "P", "E"};
  double scaled = static_cast<double>(value) / 1000;
  size_t prefix = 0;
  while (std::fabs(scaled) >= 999.95 && prefix + 1 < kPrefixes.size()) {
    scaled /= 1000;
    ++prefix;
  }
  const int decimals = std::fabs(scaled) < 99.995 ? 2 : 1;
  return absl::StrCat(absl::StrFormat("%.*f ", decimals, scaled), kPrefixes[prefix], unit);
}

bool ReadsAsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string lower = absl::AsciiStrToLower(value);
    return absl::StrContains(lower, "utf-8") || absl::StrContains(lower, "utf8");
  }
  return false;
}

bool TerminalIsUtf8() {
  static const bool utf8 = ReadsAsUtf8();
  return utf8;
}

}  // namespace

std::string HumanCount(int64_t count) { return Scaled(count, ""); }

std::string HumanBytes(int64_t bytes) { return Scaled(bytes, "B"); }

std::string HumanDuration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  if (seconds < 9.95) return absl::StrFormat("%.1f s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return absl::StrCat(whole, " s");
  if (whole < 3600) return absl::StrFormat("%d min %02d s", whole / 60, whole % 60);
  return absl::StrFormat("%d h %02d min", whole / 3600, whole / 60 % 60);
}

std::string LocalTime(int64_t milliseconds) {
  if (milliseconds <= 0) return "";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(milliseconds),
                          absl::LocalTimeZone());
}

std::string Percent(double fraction, int decimals) {
  return absl::StrFormat("%.*f%%", decimals, 100 * fraction);
}

std::string SpentOf(double evaluations, int64_t limit) {
  return absl::StrFormat("%.1f/%d", evaluations, limit);
}

std::string Bar(double fraction, int width) {
  const double clipped = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  const int filled = static_cast<int>(std::lround(clipped * width));
  const bool utf8 = TerminalIsUtf8();
  std::string bar;
  for (int i = 0; i < width; ++i) {
    absl::StrAppend(&bar, i < filled ? (utf8 ? "█" : "#") : (utf8 ? "░" : "."));
  }
  return bar;
}

std::string SparkLine(const std::vector<double>& values, double low, double high) {
  static constexpr std::array<const char*, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const bool utf8 = TerminalIsUtf8();
  const int levels = utf8 ? static_cast<int>(kBlocks.size()) : 10;
  std::string line;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      line += ' ';
      continue;
    }
    const double share = high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 0;
    const int level = static_cast<int>(std::lround(share * (levels - 1)));
    absl::StrAppend(&line, utf8 ? kBlocks[static_cast<size_t>(level)] : absl::StrCat(level));
  }
  return line;
}

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return width;
}

std::string Clip(absl::string_view text, size_t columns) {
  size_t seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) continue;
    if (seen++ == columns) return std::string(text.substr(0, i));
  }
  return std::string(text);
}

std::string RoundTrip(double value) {
  if (!std::isfinite(value)) return "null";
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return std::string(buffer.data(), end);
}

std::string JsonQuote(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", static_cast<int>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace amc
