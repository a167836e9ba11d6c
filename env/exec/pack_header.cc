#include "env/exec/pack_header.h"

#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace amc {
namespace {

constexpr int64_t kMaxDimension = 1 << 16;
constexpr int64_t kMaxImages = int64_t{1} << 31;
constexpr std::array<Split, 3> kSplits = {Split::kReconstruction, Split::kReward, Split::kReport};

std::string FormatFloats(const std::vector<float>& values) {
  std::string text;
  for (const float value : values) absl::StrAppendFormat(&text, " %.9g", value);
  return text;
}

absl::StatusOr<std::vector<float>> ParseFloats(absl::string_view text) {
  std::vector<float> values;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    float value = 0;
    if (!absl::SimpleAtof(word, &value)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", word, "\" is not a number"));
    }
    values.push_back(value);
  }
  return values;
}

}  // namespace

absl::Status CheckPackHeader(const PackHeader& header) {
  for (const auto& [name, value] : {std::pair<const char*, int64_t>{"channels", header.channels},
                                    {"height", header.height},
                                    {"width", header.width}}) {
    if (value < 1 || value > kMaxDimension) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is ", value, ", want 1 to ", kMaxDimension));
    }
  }
  for (const Split split : kSplits) {
    const int64_t size = header.split_sizes[static_cast<int>(split)];
    if (size < 0 || size > kMaxImages) {
      return absl::InvalidArgumentError(absl::StrCat("split ", SplitName(split), " has ", size,
                                                     " images, want 0 to ", kMaxImages));
    }
  }
  // Far above any real data set, and small enough that no size below can overflow.
  if (header.image_bytes() > (int64_t{1} << 30)) {
    return absl::InvalidArgumentError(
        absl::StrCat("an image has ", header.image_bytes(), " bytes, want at most 2^30"));
  }
  const auto channels = static_cast<size_t>(header.channels);
  const Preprocessing& preprocessing = header.preprocessing;
  if (preprocessing.mean.size() != channels || preprocessing.deviation.size() != channels) {
    return absl::InvalidArgumentError(absl::StrCat("preprocessing has ", preprocessing.mean.size(),
                                                   " means and ", preprocessing.deviation.size(),
                                                   " deviations for ", channels, " channels"));
  }
  for (size_t c = 0; c < channels; ++c) {
    if (!std::isfinite(preprocessing.mean[c]) || !std::isfinite(preprocessing.deviation[c]) ||
        preprocessing.deviation[c] <= 0) {
      return absl::InvalidArgumentError(absl::StrCat("preprocessing of channel ", c, ": mean ",
                                                     preprocessing.mean[c], ", deviation ",
                                                     preprocessing.deviation[c]));
    }
  }
  return CheckClassNames(header.class_names);
}

absl::Status CheckClassNames(absl::Span<const std::string> names) {
  if (names.empty()) return absl::InvalidArgumentError("no classes");
  for (const std::string& name : names) {
    if (name.find('\n') != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("class name with a line break: ", ToUtf8(name)));
    }
    if (const size_t good = Utf8Prefix(name); good != name.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("class name that is not UTF-8 from byte ", good, " on: ", ToUtf8(name)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLabels(absl::Span<const int32_t> labels, size_t classes) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || static_cast<size_t>(labels[i]) >= classes) {
      return absl::InvalidArgumentError(absl::StrCat("label ", labels[i], " of image ", i,
                                                     " is outside 0..", classes - 1, " (", classes,
                                                     " classes)"));
    }
  }
  return absl::OkStatus();
}

std::string FormatPackHeader(const PackHeader& header) {
  std::string text = absl::StrCat(
      "channels: ", header.channels, "\nheight: ", header.height, "\nwidth: ", header.width,
      "\nreconstruction: ", header.split_sizes[0], "\nreward: ", header.split_sizes[1],
      "\nreport: ", header.split_sizes[2], "\nmean:", FormatFloats(header.preprocessing.mean),
      "\ndeviation:", FormatFloats(header.preprocessing.deviation), "\n");
  for (const std::string& name : header.class_names) absl::StrAppend(&text, "class: ", name, "\n");
  absl::StrAppend(&text, "source: ", header.source, "\n");
  return text;
}

absl::StatusOr<PackHeader> ParsePackHeader(absl::string_view text) {
  PackHeader header;
  const std::array<std::pair<absl::string_view, int64_t*>, 6> integers = {
      {{"channels", &header.channels},
       {"height", &header.height},
       {"width", &header.width},
       {"reconstruction", &header.split_sizes[0]},
       {"reward", &header.split_sizes[1]},
       {"report", &header.split_sizes[2]}}};
  if (text.empty() || text.back() != '\n') {
    return absl::InvalidArgumentError("the header does not end with a line break");
  }
  text.remove_suffix(1);
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    const auto& [key, value] = parts;
    bool known = false;
    for (const auto& [name, target] : integers) {
      if (key != name) continue;
      known = true;
      if (!absl::SimpleAtoi(value, target)) {
        return absl::InvalidArgumentError(absl::StrCat(key, ": \"", value, "\" is not a number"));
      }
    }
    if (known) continue;
    if (key == "mean") {
      AMC_ASSIGN_OR_RETURN(header.preprocessing.mean, ParseFloats(value));
    } else if (key == "deviation") {
      AMC_ASSIGN_OR_RETURN(header.preprocessing.deviation, ParseFloats(value));
    } else if (key == "class") {
      header.class_names.emplace_back(value);
    } else if (key == "source") {
      header.source = std::string(value);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unknown header line \"", line, "\""));
    }
  }
  AMC_RETURN_IF_ERROR(CheckPackHeader(header));
  return header;
}

}  // namespace amc
