// What a finished job's network did with each report image: its `outcomes` artifact, a .npy of
// float32, images x 4: original right (0 or 1), compressed right (0 or 1), KL(original ||
// compressed) in nats, label.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/job.pb.h"

namespace amc {

// One entry an image, in the split's order.
struct Outcomes {
  std::vector<double> original_right, compressed_right;  // 0 or 1
  std::vector<double> kl;                                // nats
  std::vector<int64_t> labels;

  size_t images() const { return labels.size(); }
};

// InvalidArgument, with row and value, for bytes that are no such array.
absl::StatusOr<Outcomes> ParseOutcomes(absl::string_view bytes);

// DataLoss if the images are not those whose sums the result has: another number of them, or
// another number of right answers.
absl::Status CheckAgainst(const Outcomes& outcomes, const v1::JobResult& result);

}  // namespace amc
