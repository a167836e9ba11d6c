// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace amc {

std::string HumanCount(int64_t count);                   // "40.55 M", "270.9 k", "640"
std::string HumanBytes(int64_t bytes);                   // "1.09 MB", "640 B"; decimal units
std::string HumanDuration(double seconds);               // "8 s", "2 min 05 s", "3 h 12 min"
std::string LocalTime(int64_t milliseconds);             // "2026-11-20 22:15:01" of Unix time
std::string Percent(double fraction, int decimals = 1);  // "49.9%"

// What a search has spent of what it may cost, in full evaluations: "12.3/200".
std::string SpentOf(double evaluations, int64_t limit);

// A bar of `width` cells of which `fraction` (clipped to [0, 1]) are filled; plain ASCII where the
// locale is not UTF-8.
std::string Bar(double fraction, int width);

// A column of one cell for each value, filled as far as it lies between `low` and `high`; digits 0
// to 9 where the locale is not UTF-8, a blank for what is not finite.
std::string SparkLine(const std::vector<double>& values, double low, double high);

// How many columns a terminal needs for `text`: its code points.
size_t DisplayWidth(absl::string_view text);

// The first `columns` code points of `text`.
std::string Clip(absl::string_view text, size_t columns);

// The shortest text that reads back as the same double ("0.1", "1e+20").
std::string RoundTrip(double value);

// `text` as a JSON string, quotes included.
std::string JsonQuote(absl::string_view text);

}  // namespace amc
