#include "server/cli/checks.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "server/rpc/channel.h"

namespace amc {
namespace {

// `holds` says whether the text is fine; `range` follows "is not" in the error and is in the help.
CLI::Validator Make(const std::string& range, std::function<bool(const std::string&)> holds) {
  return CLI::Validator(
      [range, holds = std::move(holds)](std::string& text) {
        return holds(text) ? std::string() : absl::StrCat(text, " is not ", range);
      },
      range);
}

CLI::Validator Number(const std::string& range, std::function<bool(double)> holds) {
  return Make(range, [holds = std::move(holds)](const std::string& text) {
    double value = 0;
    return absl::SimpleAtod(text, &value) && holds(value);  // false for NaN
  });
}

std::string EnumPrefix(const google::protobuf::EnumDescriptor& type) {
  const std::string& zero = type.FindValueByNumber(0)->name();
  return zero.substr(0, zero.size() - (sizeof("UNSPECIFIED") - 1));
}

}  // namespace

CLI::Validator AtLeast(int64_t low) {
  return WholeBetween(low, std::numeric_limits<int64_t>::max());
}

CLI::Validator WholeBetween(int64_t low, int64_t high) {
  const bool open = high == std::numeric_limits<int64_t>::max();
  return Make(open ? absl::StrCat("a whole number from ", low)
                   : absl::StrCat("a whole number from ", low, " to ", high),
              [low, high](const std::string& text) {
                int64_t value = 0;
                return absl::SimpleAtoi(text, &value) && value >= low && value <= high;
              });
}

CLI::Validator Above(double low) {
  return Number(absl::StrCat("a number above ", low),
                [low](double value) { return value > low && std::isfinite(value); });
}

CLI::Validator Between(double low, double high) {
  const bool open = std::isinf(high);
  return Number(
      open ? absl::StrCat("a number from ", low)
           : absl::StrCat("a number from ", low, " to ", high),
      [low, high](double value) { return value >= low && value <= high && std::isfinite(value); });
}

CLI::Validator Share() {
  return Number("above 0 and at most 1", [](double value) { return value > 0 && value <= 1; });
}

CLI::Validator Fraction() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        double value = 0;
        if (!absl::SimpleAtod(text, &value)) return absl::StrCat(text, " is not a number");
        if (value >= 0 && value <= 1) return "";
        const std::string wrong = absl::StrCat(text, " is not in the range 0 to 1");
        return value > 1 && value <= 100 ? absl::StrCat(wrong, "; ", text, "% is ", value / 100)
                                         : wrong;
      },
      "a number from 0 to 1");
}

CLI::Validator Seed() {
  return Make("a whole number from 0 to 2^64 - 1", [](const std::string& text) {
    uint64_t value = 0;
    return absl::SimpleAtoi(text, &value);
  });
}

std::optional<int64_t> ParseBytes(const std::string& text) {
  const size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string unit = absl::AsciiStrToUpper(text.substr(end));
  if (!unit.empty() && unit.back() == 'B') unit.pop_back();
  double scale = 1;
  if (!unit.empty()) {
    const bool binary = unit.size() == 2 && unit[1] == 'I';
    const size_t power = std::string("KMGTP").find(unit[0]);
    if (power == std::string::npos || (unit.size() > 1 && !binary)) return std::nullopt;
    scale = std::pow(binary ? 1024 : 1000, static_cast<double>(power + 1));
  }
  int64_t whole = 0;
  if (scale == 1 && absl::SimpleAtoi(text.substr(0, end), &whole)) return whole;
  double number = 0;
  if (!absl::SimpleAtod(text.substr(0, end), &number)) return std::nullopt;
  const double bytes = std::round(number * scale);
  // 2^63: the nearest double to the greatest number.
  if (bytes >= static_cast<double>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(bytes);
}

CLI::Validator Bytes() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        const std::optional<int64_t> bytes = ParseBytes(text);
        if (!bytes) return absl::StrCat(text, " is no number of bytes such as 500M, 20G or 1.5T");
        text = absl::StrCat(*bytes);
        return "";
      },
      "BYTES");
}

CLI::Validator Duration() {
  return Make("a duration above 0 such as 15s, 500ms or 2m", [](const std::string& text) {
    absl::Duration duration;
    return absl::ParseDuration(text, &duration) && duration > absl::ZeroDuration() &&
           duration < absl::InfiniteDuration();
  });
}

CLI::Validator Address() {
  return CLI::Validator([](std::string& text) { return std::string(CheckAddress(text).message()); },
                        "");
}

std::string ShortEnumName(const google::protobuf::EnumValueDescriptor& value) {
  return absl::AsciiStrToLower(value.name().substr(EnumPrefix(*value.type()).size()));
}

std::vector<std::string> ShortEnumNames(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(ShortEnumName(*type.value(i)));
  }
  return names;
}

CLI::Validator OneOf(const google::protobuf::EnumDescriptor& type) {
  return CLI::IsMember(ShortEnumNames(type));
}

absl::Status CheckOutputFile(const std::string& path) {
  std::error_code error;
  const std::filesystem::path file = std::filesystem::absolute(path, error);
  const std::string folder = file.parent_path().string();
  if (path.empty() || std::filesystem::is_directory(file, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot write ", path.empty() ? "\"\"" : path, ": it is no file's name"));
  }
  if (!std::filesystem::exists(folder, error)) {
    return absl::NotFoundError(
        absl::StrCat("cannot write ", path, ": the folder ", folder, " does not exist"));
  }
  if (!std::filesystem::is_directory(folder, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot write ", path, ": ", folder, " is no folder"));
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("cannot write ", path, ": folder"), folder);
  }
  return absl::OkStatus();
}

absl::Status CheckNewFolder(const std::string& path) {
  const std::string name(absl::StripSuffix(path, "/"));
  std::error_code error;
  if (!name.empty() && std::filesystem::exists(std::filesystem::symlink_status(name, error))) {
    return absl::AlreadyExistsError(
        absl::StrCat(name, " is there already: name a new folder, or remove it first"));
  }
  return CheckOutputFile(name);
}

}  // namespace amc
