// What is wrong with a specification, field by field.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/sha256.h"
#include "server/rpc/status_convert.h"

namespace amc {

// Collects violations, so that a client sees all of them at once. `prefix` goes before every
// field's path: "spec.".
class SpecChecker {
 public:
  explicit SpecChecker(std::string prefix) : prefix_(std::move(prefix)) {}

  void Fail(absl::string_view field, std::string description) {
    violations_.push_back({absl::StrCat(prefix_, field), std::move(description)});
  }
  template <typename T>
  void InRange(absl::string_view field, T value, T low, T high) {
    if (value >= low && value <= high) return;  // false for NaN
    Fail(field, absl::StrCat(value, " is not in [", low, ", ", high, "]"));
  }
  // Of `what`: "an ONNX artifact".
  void IsDigest(absl::string_view field, absl::string_view digest, absl::string_view what) {
    if (IsSha256Hex(digest)) return;
    Fail(field,
         absl::StrCat("\"", digest, "\" is not the sha256 of ", what, " (64 hexadecimal digits)"));
  }
  void AtMostLong(absl::string_view field, absl::string_view text, size_t characters) {
    if (text.size() <= characters) return;
    Fail(field, absl::StrCat(text.size(), " characters, more than ", characters));
  }
  // InvalidArgument with a violation per bad field; OK without any.
  absl::Status status() const { return FieldErrors(violations_); }

 private:
  const std::string prefix_;
  std::vector<FieldViolation> violations_;
};

}  // namespace amc
