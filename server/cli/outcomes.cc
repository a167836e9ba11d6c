#include "server/cli/outcomes.h"

#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/npy.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr size_t kColumns = 4;
constexpr float kMostLabels = 1 << 24;  // what float32 counts exactly

absl::Status BadRow(size_t row, absl::string_view what, float value) {
  return absl::InvalidArgumentError(absl::StrCat("image ", row, ": ", what, " is ", value));
}

absl::Status CheckRight(const std::vector<double>& right, const v1::Measurement& measured,
                        absl::string_view which) {
  const double count = std::accumulate(right.begin(), right.end(), 0.0);
  const double expected = std::round(measured.top1() * static_cast<double>(measured.images()));
  if (count == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the ", which, " gets ", count, " of ", right.size(),
                                          " images right, but the job's result says ", expected));
}

}  // namespace

absl::StatusOr<Outcomes> ParseOutcomes(absl::string_view bytes) {
  AMC_ASSIGN_OR_RETURN(const NpyArray array, ParseNpy(bytes));
  if (array.shape.size() != 2 || array.shape[0] == 0 ||
      array.shape[1] != static_cast<int64_t>(kColumns)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "its shape is (", absl::StrJoin(array.shape, ", "), "), want (images, ", kColumns, ")"));
  }
  Outcomes outcomes;
  for (size_t row = 0; row < array.values.size() / kColumns; ++row) {
    const float* values = &array.values[row * kColumns];
    for (const size_t column : {0, 1}) {
      if (values[column] == 0 || values[column] == 1) continue;
      return BadRow(row, "whether it is right", values[column]);
    }
    if (!std::isfinite(values[2])) return BadRow(row, "its KL divergence", values[2]);
    if (!(values[3] >= 0 && values[3] < kMostLabels && values[3] == std::floor(values[3]))) {
      return BadRow(row, "its label", values[3]);
    }
    outcomes.original_right.push_back(values[0]);
    outcomes.compressed_right.push_back(values[1]);
    outcomes.kl.push_back(values[2]);
    outcomes.labels.push_back(static_cast<int64_t>(values[3]));
  }
  return outcomes;
}

absl::Status CheckAgainst(const Outcomes& outcomes, const v1::JobResult& result) {
  if (static_cast<int64_t>(outcomes.images()) != result.compressed().images()) {
    return absl::DataLossError(absl::StrCat("there are ", outcomes.images(),
                                            " images, but the job's result says ",
                                            result.compressed().images()));
  }
  AMC_RETURN_IF_ERROR(CheckRight(outcomes.original_right, result.original(), "original"));
  return CheckRight(outcomes.compressed_right, result.compressed(), "compressed network");
}

}  // namespace amc
