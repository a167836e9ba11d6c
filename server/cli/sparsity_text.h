// What --sparsity takes: "element", "block", "2:4".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "env/graph/granularity.h"

namespace CLI {
class Validator;
}  // namespace CLI

namespace amc {

struct SparsityText {
  Granularity granularity = Granularity::kElement;
  int64_t n = 2, m = 4;  // of kNM
  friend bool operator==(const SparsityText&, const SparsityText&) = default;
};

// UsageError for what it is none of.
absl::StatusOr<SparsityText> ParseSparsity(const std::string& text);

// The fields of a job's spec that it means, as FIELD=VALUE.
std::vector<std::string> SparsityFields(const SparsityText& sparsity);

CLI::Validator SparsityCheck();

}  // namespace amc
