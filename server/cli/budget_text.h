// Budgets as people write and read them: "0.5", "macs=40M", "latency=20ms", "latency 9.84 ms".
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/job.pb.h"

namespace CLI {
class Validator;
}  // namespace CLI

namespace amc {

// "[RESOURCE=]TARGET". Resources as --resource names them, and "memory" for activation_bytes; none
// leaves the resource unset. Targets: a ratio ("0.5", "50%") or an amount, that is a number above 1
// ("640", "40M", "1.5G", of bytes also "512Ki") or a time ("20ms", "350us"). UsageError says what
// was found and what was expected.
absl::StatusOr<v1::BudgetBound> ParseBudget(absl::string_view text);

// The same as a check where the command line is parsed.
CLI::Validator BudgetText();

// A resource alone; "memory" becomes the name that job files have.
CLI::Validator ResourceText();

// An amount of a resource: "40.55 M", "1.09 MB", "9.840 ms".
std::string AmountOf(v1::Resource resource, int64_t amount);
// "MACs", "parameters", "activation memory", "weights", "latency, predicted".
std::string ResourceTitle(v1::Resource resource);

}  // namespace amc
