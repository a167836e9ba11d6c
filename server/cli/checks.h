// What options accept, checked where the command line is parsed: wrong usage ends with exit code 2
// before anything starts. `--help` shows the ranges.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace CLI {
class Validator;
}  // namespace CLI

namespace amc {

// Numbers: at least `low`; above `low`; in [low, high]; in (0, 1].
CLI::Validator AtLeast(int64_t low);
CLI::Validator Above(double low);
CLI::Validator Between(double low, double high);
CLI::Validator WholeBetween(int64_t low, int64_t high);
CLI::Validator Share();
// An accuracy, 0 to 1; says of 89 that 89% is 0.89.
CLI::Validator Fraction();
// A seed: a whole number from 0 to 2^64 - 1.
CLI::Validator Seed();
// Bytes with a decimal or binary unit ("20G", "512Mi", "640"), which the option gets as a number:
// for Option::transform. And a duration above 0 ("15s", "500ms"), as absl::ParseDuration reads it.
CLI::Validator Bytes();
CLI::Validator Duration();
// An address that a server can have.
CLI::Validator Address();

// An enum's values as flags spell them: "l1", "top1", "error_log_macs"; all but UNSPECIFIED.
std::vector<std::string> ShortEnumNames(const google::protobuf::EnumDescriptor& type);
// One value: CRITERION_L1 -> "l1".
std::string ShortEnumName(const google::protobuf::EnumValueDescriptor& value);
// One of those names.
CLI::Validator OneOf(const google::protobuf::EnumDescriptor& type);

// The bytes that a text such as "1.5G" or "512Mi" means; none if it means none from 0 to 2^63 - 1.
std::optional<int64_t> ParseBytes(const std::string& text);

// OK if a file can be written at `path`: its folder is there and may be written to, and `path`
// itself is no folder. Asked before work whose result would otherwise be lost.
absl::Status CheckOutputFile(const std::string& path);
// OK if a folder can be made at `path`: nothing is there yet, and its parent may be written to.
absl::Status CheckNewFolder(const std::string& path);

}  // namespace amc
